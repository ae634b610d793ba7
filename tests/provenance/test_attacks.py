"""What attackers do to a signed file, and what its reader must say: one test an attack, for every format it fits."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
from containers import GRAFTS, flip_content, flip_in_box, remux, swap_sound_samples
from PIL import Image
from time_stamps import time_stamp_authority

from media.video import read_clip, write_clip
from provenance.claims import Claim, Ingredient, SourceType
from provenance.credential import Credential, ProvenanceError, Standing, read_credential
from provenance.identity import SigningIdentity, create_identity, renew
from provenance.signing import sign_file
from provenance.trust import TrustAnchors, TrustList

FORMATS = ("mp4", "mov", "png", "jpg", "webp", "wav")
HASH_CODE = {"mp4": "assertion.bmffHash.mismatch", "mov": "assertion.bmffHash.mismatch"}
SYNTHETIC = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA)

Signed = Callable[[str], Path]
Originals = dict[str, Path]


def hash_code(ending: str) -> str:
    return HASH_CODE.get(ending, "assertion.dataHash.mismatch")


def read_bytes(content: bytes, path: Path) -> Credential:
    path.write_bytes(content)
    return read_credential(path)


@pytest.mark.parametrize("ending", FORMATS)
def test_an_intact_file_of_this_machine_is_trusted(ending: str, signed: Signed) -> None:
    credential = read_credential(signed(f"clip.{ending}"))
    assert credential.standing is Standing.TRUSTED
    assert credential.validation_codes == ("signingCredential.trusted",)
    assert credential.declares_synthetic is True
    assert any("development identity of this machine" in reason for reason in credential.reasons)


@pytest.mark.parametrize("ending", FORMATS)
def test_changed_content_breaks_the_credential(ending: str, signed: Signed, tmp_path: Path) -> None:
    content = signed(f"clip.{ending}").read_bytes()
    credential = read_bytes(flip_content(content, ending), tmp_path / f"attacked.{ending}")
    assert credential.standing is Standing.BROKEN
    assert hash_code(ending) in credential.validation_codes


def test_a_changed_index_of_a_video_breaks_the_credential(signed: Signed, tmp_path: Path) -> None:
    credential = read_bytes(flip_in_box(signed("clip.mp4").read_bytes(), b"moov"), tmp_path / "a.mp4")
    assert credential.standing is Standing.BROKEN


def test_stripping_by_remux_leaves_no_credential(signed: Signed, tmp_path: Path) -> None:
    remux(signed("clip.mp4"), tmp_path / "stripped.mp4")
    credential = read_credential(tmp_path / "stripped.mp4")
    assert (credential.standing, credential.validation_codes) == (Standing.ABSENT, ())


def test_reencoding_leaves_no_credential(signed: Signed, tmp_path: Path) -> None:
    write_clip(read_clip(signed("clip.mp4")), tmp_path / "again.mp4", crf=30)
    assert read_credential(tmp_path / "again.mp4").standing is Standing.ABSENT


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_saving_a_picture_again_leaves_no_credential(ending: str, signed: Signed, tmp_path: Path) -> None:
    Image.open(signed(f"clip.{ending}")).save(tmp_path / f"again.{ending}")
    assert read_credential(tmp_path / f"again.{ending}").standing is Standing.ABSENT


def test_sound_swapped_in_place_breaks_the_credential(signed: Signed, tmp_path: Path) -> None:
    credential = read_bytes(swap_sound_samples(signed("clip.mp4").read_bytes()), tmp_path / "dubbed.mp4")
    assert credential.standing is Standing.BROKEN
    assert "assertion.bmffHash.mismatch" in credential.validation_codes


def test_sound_swapped_by_remux_loses_the_credential_and_putting_it_back_breaks_it(
    signed: Signed, originals: Originals, tmp_path: Path
) -> None:
    source = signed("clip.mp4")
    remux(source, tmp_path / "dubbed.mp4", sound_of=originals["other.mp4"])
    assert read_credential(tmp_path / "dubbed.mp4").standing is Standing.ABSENT
    grafted = GRAFTS["mp4"](source.read_bytes(), (tmp_path / "dubbed.mp4").read_bytes())
    credential = read_bytes(grafted, tmp_path / "grafted.mp4")
    assert credential.standing is Standing.BROKEN
    assert "assertion.bmffHash.mismatch" in credential.validation_codes


@pytest.mark.parametrize("ending", FORMATS)
def test_a_credential_copied_onto_another_file_is_broken(
    ending: str, signed: Signed, originals: Originals, tmp_path: Path
) -> None:
    other = originals[f"other.{ending}"].read_bytes()
    assert read_credential(originals[f"other.{ending}"]).standing is Standing.ABSENT
    credential = read_bytes(GRAFTS[ending](signed(f"clip.{ending}").read_bytes(), other), tmp_path / f"g.{ending}")
    assert credential.standing is Standing.BROKEN
    assert any("mismatch" in code for code in credential.validation_codes)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_broken_or_has_lost_its_credential(
    ending: str, share: float, signed: Signed, tmp_path: Path
) -> None:
    content = signed(f"clip.{ending}").read_bytes()
    credential = read_bytes(content[: int(len(content) * share)], tmp_path / f"cut.{ending}")
    assert credential.standing in (Standing.BROKEN, Standing.ABSENT)
    # In an mp4 the credential comes first, so a cut can never hide that there was one.
    assert ending != "mp4" or credential.standing is Standing.BROKEN


def test_appended_bytes_break_the_credential(signed: Signed, tmp_path: Path) -> None:
    box = b"\x00\x00\x00\x10uuid" + b"stranger"
    credential = read_bytes(signed("clip.mp4").read_bytes() + box, tmp_path / "longer.mp4")
    assert credential.standing is Standing.BROKEN


def test_an_edited_statement_breaks_the_credential(signed: Signed, tmp_path: Path) -> None:
    content = signed("clip.mp4").read_bytes()
    assert b"trainedAlgorithmicMedia" in content
    lied = content.replace(b"trainedAlgorithmicMedia", b"digitalCapture/////////")
    credential = read_bytes(lied, tmp_path / "lied.mp4")
    assert credential.standing is Standing.BROKEN
    assert "assertion.hashedURI.mismatch" in credential.validation_codes


@pytest.mark.parametrize("ending", FORMATS)
def test_a_strangers_signature_is_not_ours(
    ending: str, originals: Originals, stranger: SigningIdentity, tmp_path: Path
) -> None:
    sign_file(originals[f"clip.{ending}"], tmp_path / f"s.{ending}", SYNTHETIC, identity=stranger)
    credential = read_credential(tmp_path / f"s.{ending}")
    assert credential.standing is Standing.UNKNOWN_SIGNER
    assert credential.validation_codes == ("signingCredential.untrusted",)
    assert any("another machine" in reason for reason in credential.reasons)


def test_resigned_by_a_stranger_keeps_the_history_and_loses_the_trust(
    signed: Signed, stranger: SigningIdentity, tmp_path: Path
) -> None:
    ours = read_credential(signed("clip.mp4"))
    claim = Claim(source_type=SourceType.DIGITAL_CAPTURE, title="holiday.mp4")
    sign_file(Path(ours.file), tmp_path / "theirs.mp4", claim, identity=stranger)
    credential = read_credential(tmp_path / "theirs.mp4")
    assert credential.standing is Standing.UNKNOWN_SIGNER
    assert credential.signer != ours.signer
    assert [(one.relationship, one.signer) for one in credential.ingredients] == [("parentOf", ours.signer)]
    assert credential.declares_synthetic is True, "a stranger's 'recorded' must not outweigh what the parent says"


def sign_shortly_before_the_end(folder: Path, url: str, source: Path, out: Path, trust: TrustAnchors) -> datetime:
    """Sign without and with a time-stamp; the end of the certificate, later on a machine that is too busy for this."""
    for seconds in (4, 15, 60):
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        renew(folder, days=1, now=end - timedelta(days=1) + timedelta(minutes=10))
        identity = SigningIdentity.from_files(folder / "chain.pem", folder / "signer.key")
        try:
            for name, who in (("plain.jpg", identity), ("stamped.jpg", replace(identity, time_stamp_url=url))):
                fresh = sign_file(source, out / name, SYNTHETIC, identity=who, trust=trust)
                assert (fresh.standing, fresh.signed_at) == (Standing.TRUSTED, None)
        except ProvenanceError:
            continue
        return end
    raise AssertionError("nothing could be signed within a minute")


def test_an_expired_signer_is_broken_unless_a_trusted_time_stamp_says_it_was_earlier(
    originals: Originals, tmp_path: Path
) -> None:
    folder = tmp_path / "short-lived"
    create_identity(folder)
    trust = TrustAnchors((TrustList("test", "urn:test", (folder / "root.pem").read_text()),))
    with time_stamp_authority(tmp_path) as url:
        end = sign_shortly_before_the_end(folder, url, originals["clip.jpg"], tmp_path, trust)
    time.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()) + 1.1)
    for name in ("plain.jpg", "stamped.jpg"):
        credential = read_credential(tmp_path / name, trust=trust)
        assert credential.standing is Standing.BROKEN
        assert "signingCredential.expired" in credential.validation_codes
        assert any("has expired" in reason for reason in credential.reasons)
    stamps = TrustList("stamps", "urn:stamps", (tmp_path / "tsa-root.pem").read_text(), "tsa")
    both = TrustAnchors((*trust.lists, stamps))
    stamped = read_credential(tmp_path / "stamped.jpg", trust=both)
    assert stamped.standing is Standing.TRUSTED
    assert stamped.signed_at is not None
    assert datetime.fromisoformat(stamped.signed_at) < end
    assert read_credential(tmp_path / "plain.jpg", trust=both).standing is Standing.BROKEN


@pytest.mark.parametrize("ending", ["png", "mp4"])
def test_a_tampered_ingredient_is_named_although_the_file_is_trusted(
    ending: str, signed: Signed, originals: Originals, tmp_path: Path
) -> None:
    tampered = tmp_path / f"tampered.{ending}"
    tampered.write_bytes(flip_content(signed(f"clip.{ending}").read_bytes(), ending))
    claim = Claim(
        source_type=SourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA, ingredients=(Ingredient(tampered, "portrait"),)
    )
    credential = sign_file(originals["other.mp4"], tmp_path / "out.mp4", claim)
    assert credential.standing is Standing.TRUSTED
    assert f"ingredient:{hash_code(ending)}" in credential.validation_codes
    assert any("'portrait' was already broken" in reason for reason in credential.reasons)
    assert credential.ingredients[0].is_faulty


def test_a_root_given_for_time_stamps_does_not_vouch_for_signers(originals: Originals, tmp_path: Path) -> None:
    folder = tmp_path / "authority"
    create_identity(folder)
    identity = SigningIdentity.from_files(folder / "chain.pem", folder / "signer.key")
    sign_file(originals["clip.jpg"], tmp_path / "a.jpg", SYNTHETIC, identity=identity)
    as_stamps = TrustAnchors.default(time_stamps=[folder / "root.pem"])
    as_signers = TrustAnchors.default([folder / "root.pem"])
    both = TrustAnchors.default([folder / "root.pem"], time_stamps=[folder / "root.pem"])
    assert read_credential(tmp_path / "a.jpg", trust=as_stamps).standing is Standing.UNKNOWN_SIGNER
    assert read_credential(tmp_path / "a.jpg", trust=as_signers).standing is Standing.TRUSTED
    for _ in range(12):  # the library picks one of two lists that share an authority by chance
        assert read_credential(tmp_path / "a.jpg", trust=both).standing is Standing.TRUSTED


def test_the_holes_in_the_hash_show_in_the_digest_of_the_file(signed: Signed, tmp_path: Path) -> None:
    path = signed("clip.mp4")
    before = read_credential(path)
    content = path.read_bytes()
    after = read_bytes(content[:12] + b"hole" + content[16:], tmp_path / "brand.mp4")
    assert after.standing is Standing.TRUSTED, "C2PA leaves the ftyp brand out of its hash"
    assert after.sha256 != before.sha256


EXPECTED = {
    "intact": Standing.TRUSTED,
    "changed": Standing.BROKEN,
    "grafted": Standing.BROKEN,
    "edited statement": Standing.BROKEN,
    "signed by a stranger": Standing.UNKNOWN_SIGNER,
    "signed again by a stranger": Standing.UNKNOWN_SIGNER,
    "never signed": Standing.ABSENT,
}


@dataclass(frozen=True)
class Case:
    """What one worker needs to play the whole table for one format; nothing is looked up in its own surroundings."""

    ending: str
    original: Path
    other: Path
    folder: Path
    ours: SigningIdentity
    stranger: SigningIdentity
    trust: TrustAnchors


def played(case: Case) -> tuple[str, dict[str, Standing]]:
    """Every attack on one fresh file of one format, and what its reader says."""
    case.folder.mkdir()
    ending, paths = case.ending, {name: case.folder / f"{name}.{case.ending}" for name in EXPECTED}
    sign = partial(sign_file, claim=SYNTHETIC, trust=case.trust)
    sign(case.original, paths["intact"], identity=case.ours)
    content = paths["intact"].read_bytes()
    paths["changed"].write_bytes(flip_content(content, ending))
    paths["grafted"].write_bytes(GRAFTS[ending](content, case.other.read_bytes()))
    lied = content.replace(b"trainedAlgorithmicMedia", b"digitalCapture/////////")
    paths["edited statement"].write_bytes(lied)
    sign(case.original, paths["signed by a stranger"], identity=case.stranger)
    sign(paths["intact"], paths["signed again by a stranger"], identity=case.stranger)
    paths["never signed"].write_bytes(case.other.read_bytes())
    return ending, {name: read_credential(path, trust=case.trust).standing for name, path in paths.items()}


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_the_table_holds_for_every_format_with_eight_workers_at_once(
    kind: str, originals: Originals, stranger: SigningIdentity, tmp_path: Path
) -> None:
    ours = create_identity(tmp_path / "ours")
    trust = TrustAnchors.default([tmp_path / "ours" / "root.pem"])
    cases = [
        Case(
            ending,
            originals[f"clip.{ending}"],
            originals[f"other.{ending}"],
            tmp_path / f"{ending}-{number}",
            ours,
            stranger,
            trust,
        )
        for number in range(2)
        for ending in FORMATS
    ]
    pool: Executor = ThreadPoolExecutor(8)
    if kind == "processes":
        context = get_context("forkserver")
        # Loaded once, not eight times.
        context.set_forkserver_preload([__name__])
        pool = ProcessPoolExecutor(8, mp_context=context)
    with pool:
        answers = list(pool.map(played, cases))
    assert [ending for ending, _ in answers] == [case.ending for case in cases]
    assert [found for _, found in answers] == [EXPECTED] * len(cases)
