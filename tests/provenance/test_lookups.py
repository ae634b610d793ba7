"""What is asked of other machines: nothing, unless somebody said so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import c2pa
import pytest
from local_server import serving
from revocation import Authority, served

from provenance.claims import Claim, SourceType
from provenance.credential import Standing, read_credential, strict_settings
from provenance.identity import development_identity
from provenance.signing import sign_file
from provenance.trust import Lookups, TrustAnchors

CLAIM = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA)
Originals = dict[str, Path]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A server of the files in tmp_path: its address without a slash, and what was asked of it."""
    asked: list[str] = []

    class Shelf(SimpleHTTPRequestHandler):
        def __init__(self, *words: object) -> None:
            super().__init__(*words, directory=str(tmp_path))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

    with serving(Shelf) as address:
        yield address, asked


def sign_apart(source: Path, target: Path, address: str) -> bytes:
    """Sign so that the file only points to its manifest, which is given back."""
    identity = development_identity(notify=lambda line: None)
    manifest = {"claim_generator_info": [{"name": "test", "version": "1"}], "assertions": []}
    information = c2pa.C2paSignerInfo(b"es256", identity.chain_pem.encode(), identity.key_pem, None)
    settings = strict_settings(TrustAnchors.none())
    with (
        c2pa.Builder(json.dumps(manifest), c2pa.Context.from_dict(settings)) as builder,
        source.open("rb") as reading,
        target.open("w+b") as writing,
    ):
        builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CAPTURE)
        builder.set_no_embed()
        builder.set_remote_url(address)
        signed: bytes = builder.sign(c2pa.Signer.from_info(information), "image/jpeg", reading, writing)
    return signed


def test_a_manifest_elsewhere_is_fetched_only_when_asked_for_and_from_named_hosts(
    originals: Originals, tmp_path: Path, shelf: tuple[str, list[str]]
) -> None:
    address, asked = shelf
    manifest = sign_apart(originals["clip.jpg"], tmp_path / "a.jpg", f"{address}/a.c2pa")
    (tmp_path / "a.c2pa").write_bytes(manifest)

    def read(lookups: Lookups | None) -> tuple[Standing, str, str | None]:
        credential = read_credential(tmp_path / "a.jpg", trust=TrustAnchors.default(lookups=lookups))
        return credential.standing, " ".join(credential.reasons), credential.fetched_from

    standing, reasons, _ = read(None)
    assert (standing, asked) == (Standing.ABSENT, [])
    assert f"{address}/a.c2pa, which were not fetched" in reasons
    standing, reasons, _ = read(Lookups(remote_manifests=True, hosts=("example.org",)))
    assert (standing, asked) == (Standing.ABSENT, [])
    assert f"{address}/a.c2pa, which could not be fetched, or may not be" in reasons
    standing, reasons, fetched = read(Lookups(remote_manifests=True, hosts=(address.removeprefix("http://"),)))
    assert (standing, asked, fetched) == (Standing.TRUSTED, ["/a.c2pa"], f"{address}/a.c2pa")
    assert f"fetched from {address}/a.c2pa" in reasons
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-200] + bytes(200))
    assert read(Lookups(remote_manifests=True))[0] is Standing.BROKEN


def test_revocation_is_asked_only_when_asked_for(originals: Originals, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    with served(authority) as url:
        identity = authority.identity(url)
        root = tmp_path / "authority" / "root.pem"
        sign_file(
            originals["clip.png"], tmp_path / "a.png", CLAIM, identity=identity, trust=TrustAnchors.default([root])
        )
        offline = read_credential(tmp_path / "a.png", trust=TrustAnchors.default([root]))
        assert (offline.standing, offline.revocation, authority.asked) == (Standing.TRUSTED, "not_asked", 0)
        asking = TrustAnchors.default([root], lookups=Lookups(revocation=True))
        good = read_credential(tmp_path / "a.png", trust=asking)
        assert (good.standing, good.revocation) == (Standing.TRUSTED, "not_revoked")
        assert authority.asked > 0
        assert any("was not revoked" in reason for reason in good.reasons)
        authority.is_revoked = True
        revoked = read_credential(tmp_path / "a.png", trust=asking)
        authority.answers_itself = True
        ignored = read_credential(tmp_path / "a.png", trust=asking)
    assert (revoked.standing, revoked.revocation) == (Standing.BROKEN, "revoked")
    assert "the signer's certificate was revoked" in revoked.reasons
    silent = read_credential(tmp_path / "a.png", trust=asking)
    # The C2PA library takes answers of a delegated responder only, and passes over others without a word.
    for credential in (ignored, silent):
        assert (credential.standing, credential.revocation) == (Standing.TRUSTED, "unanswered")
        assert any("no usable answer" in reason for reason in credential.reasons)


def test_signing_asks_nobody_whatever_the_reading_may_ask(originals: Originals, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    with served(authority) as url:
        identity = authority.identity(url)
        trust = TrustAnchors.default([tmp_path / "authority" / "root.pem"], lookups=Lookups(revocation=True))
        sign_file(originals["clip.png"], tmp_path / "a.png", CLAIM, identity=identity, trust=trust)
    assert authority.asked == 0


def test_lookups_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="named like"):
        Lookups(remote_manifests=True, hosts=("https://example.org/",))
    with pytest.raises(ValueError, match="nothing may be asked"):
        Lookups(hosts=("example.org",))
    assert not Lookups().of_anyone
    assert Lookups(revocation=True).of_anyone
    assert TrustAnchors((), lookups=Lookups(revocation=True)).offline().lookups == Lookups()
