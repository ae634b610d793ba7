from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import c2pa
import pytest
from containers import flip_content

from provenance import signing, streams
from provenance.claims import Claim, Ingredient, SourceType
from provenance.credential import Credential, ProvenanceError, Standing, read_credential, strict_settings
from provenance.identity import SigningIdentity, development_identity
from provenance.record import Record
from provenance.signing import sign_file
from provenance.trust import TrustAnchors

SYNTHETIC = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA)
Originals = dict[str, Path]


def raw_manifest(path: Path, *, detailed: bool = False) -> dict[str, Any]:
    """What the C2PA library sees, without our reading of it."""
    settings = strict_settings(TrustAnchors.none())
    with path.open("rb") as stream, c2pa.Reader(None, stream, context=c2pa.Context.from_dict(settings)) as reader:
        report = json.loads(reader.detailed_json() if detailed else reader.json())
        manifest = report["manifests"][report["active_manifest"]]
        assert isinstance(manifest, dict)
        return manifest


def assert_read_back(credential: Credential, film: Path) -> None:
    """What signing a film told is what a reading tells, but for the hash, which was taken from the film itself."""
    read = read_credential(film)
    assert [one.code for one in read.checks if one not in credential.checks] == ["assertion.bmffHash.match"]
    assert credential == replace(read, checks=credential.checks)


def test_everything_claimed_is_read_back(originals: Originals, tmp_path: Path) -> None:
    record = Record(
        tool="countermark forge",
        recipe="mesh-512",
        seed=7,
        label="synthetic",
        consent="nobody: a rendered head",
        model_sha256="a" * 64,
        inputs={"portrait": "b" * 64},
        controls={"gaze": [1.5, -2.0], "none": None, "nested": {"numbers": [1, 2, 3]}, "é": "ü"},
    )
    claim = Claim(
        source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA,
        title="Anna says hello",
        description="portrait and speech to video",
        ingredients=(Ingredient(originals["clip.png"], "portrait"), Ingredient(originals["clip.wav"], "speech")),
        record=record,
    )
    credential = sign_file(originals["clip.mp4"], tmp_path / "out.mp4", claim)
    assert credential.standing is Standing.TRUSTED
    assert credential.file == str(tmp_path / "out.mp4")
    assert credential.sha256 == hashlib.sha256((tmp_path / "out.mp4").read_bytes()).hexdigest()
    assert_read_back(credential, tmp_path / "out.mp4")
    assert credential.record == record
    assert (credential.title, credential.declares_synthetic) == ("Anna says hello", True)
    assert credential.source_types == ("trainedAlgorithmicMedia",)
    assert credential.forbids_training is True
    [made] = credential.actions
    assert (made.name, made.tool, made.description) == (
        "c2pa.created",
        "countermark forge",
        "portrait and speech to video",
    )
    digests = {one.title: (one.relationship, one.sha256) for one in credential.ingredients}
    assert digests == {
        "portrait": ("inputTo", hashlib.sha256(originals["clip.png"].read_bytes()).hexdigest()),
        "speech": ("inputTo", hashlib.sha256(originals["clip.wav"].read_bytes()).hexdigest()),
    }


def test_every_assertion_is_attributed_to_the_signer(originals: Originals, tmp_path: Path) -> None:
    sign_file(
        originals["clip.png"], tmp_path / "a.png", Claim(source_type=SourceType.ALGORITHMIC_MEDIA, record=Record())
    )
    manifest = raw_manifest(tmp_path / "a.png")
    assertions = manifest["assertions"]
    assert isinstance(assertions, list)
    assert {one["label"] for one in assertions} >= {"c2pa.actions.v2", "cawg.training-mining", "org.countermark.record"}
    assert all(one["created"] is True for one in assertions)
    actions = next(one["data"] for one in assertions if one["label"] == "c2pa.actions.v2")
    assert actions["allActionsIncluded"] is True
    assert actions["actions"][0]["action"] == "c2pa.created"
    assert manifest["claim_generator_info"][0]["specVersion"] == "2.4.0"
    assert "thumbnail" not in manifest


def test_training_may_be_allowed(originals: Originals, tmp_path: Path) -> None:
    claim = Claim(source_type=SourceType.DIGITAL_CAPTURE, do_not_train=False)
    credential = sign_file(originals["clip.jpg"], tmp_path / "a.jpg", claim)
    assert (credential.forbids_training, credential.declares_synthetic) == (None, False)


def test_an_edit_of_an_unsigned_file_names_it_as_parent(originals: Originals, tmp_path: Path) -> None:
    claim = Claim(source_type=SourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA, action="edited")
    credential = sign_file(originals["clip.mp4"], tmp_path / "a.mp4", claim)
    assert [action.name for action in credential.actions] == ["c2pa.opened", "c2pa.edited"]
    assert [one.relationship for one in credential.ingredients] == ["parentOf"]


def test_signing_a_signed_file_keeps_its_history(originals: Originals, tmp_path: Path) -> None:
    sign_file(originals["clip.mp4"], tmp_path / "a.mp4", SYNTHETIC)
    sign_file(tmp_path / "a.mp4", tmp_path / "b.mp4", Claim(source_type=SourceType.HUMAN_EDITS, action="edited"))
    credential = sign_file(tmp_path / "b.mp4", tmp_path / "c.mp4", Claim(source_type=SourceType.HUMAN_EDITS))
    assert credential.standing is Standing.TRUSTED
    [parent] = credential.ingredients
    [grandparent] = parent.ingredients
    assert parent.faults == grandparent.faults == ()
    assert grandparent.source_types == ("trainedAlgorithmicMedia",)
    assert credential.declares_synthetic is True


def test_an_explicit_parent_is_named(originals: Originals, tmp_path: Path) -> None:
    sign_file(originals["clip.mp4"], tmp_path / "a.mp4", SYNTHETIC)
    claim = Claim(source_type=SourceType.HUMAN_EDITS, action="edited", parent=tmp_path / "a.mp4")
    credential = sign_file(originals["other.mp4"], tmp_path / "b.mp4", claim)
    assert [one.title for one in credential.ingredients] == ["a.mp4"]
    with pytest.raises(ProvenanceError, match="becomes its own parent"):
        sign_file(tmp_path / "b.mp4", tmp_path / "c.mp4", claim)


def test_a_broken_credential_is_not_signed_over_unless_told(
    originals: Originals, signed: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(flip_content(signed("clip.png").read_bytes(), "png"))
    with pytest.raises(ProvenanceError, match="carries a broken credential"):
        sign_file(tmp_path / "broken.png", tmp_path / "out.png", SYNTHETIC)
    assert not (tmp_path / "out.png").exists()
    credential = sign_file(tmp_path / "broken.png", tmp_path / "out.png", SYNTHETIC, over_broken=True)
    assert credential.standing is Standing.TRUSTED
    assert credential.ingredients[0].is_faulty
    assert any("already broken" in reason for reason in credential.reasons)


def test_signing_in_place_is_refused_and_harms_nothing(originals: Originals, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(originals["clip.mp4"].read_bytes())
    (tmp_path / "link.mp4").symlink_to(path)
    before = path.read_bytes()
    for destination in (path, tmp_path / "link.mp4", tmp_path / "." / "a.mp4"):
        with pytest.raises(ProvenanceError, match="in place"):
            sign_file(path, destination, SYNTHETIC)
    assert path.read_bytes() == before


def test_sources_and_destinations_that_do_not_fit_are_refused(originals: Originals, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    png = originals["clip.png"]
    for source, destination, words in (
        (tmp_path / "missing.png", tmp_path / "o.png", "there is no file"),
        (tmp_path, tmp_path / "o.png", "is not a file"),
        (tmp_path / "a.txt", tmp_path / "o.png", "not a media file"),
        (png, tmp_path / "no" / "o.png", "does not exist"),
        (png, tmp_path, "is a folder"),
        (png, tmp_path / "o.mp4", "rename it"),
    ):
        with pytest.raises(ProvenanceError, match=words):
            sign_file(source, destination, SYNTHETIC)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_missing_ingredient_is_named(originals: Originals, tmp_path: Path) -> None:
    claim = Claim(
        source_type=SourceType.ALGORITHMIC_MEDIA, ingredients=(Ingredient(tmp_path / "gone.png", "portrait"),)
    )
    with pytest.raises(ProvenanceError, match=r"gone\.png"):
        sign_file(originals["clip.png"], tmp_path / "o.png", claim)
    assert not list(tmp_path.iterdir())


def test_an_ingredient_of_any_kind_is_accepted(originals: Originals, tmp_path: Path) -> None:
    (tmp_path / "script.txt").write_text("Hello.")
    (tmp_path / "voice.ogg").write_bytes(b"OggS" + bytes(100))
    parts = (Ingredient(tmp_path / "script.txt", "script"), Ingredient(tmp_path / "voice.ogg", "voice"))
    credential = sign_file(
        originals["clip.png"], tmp_path / "o.png", Claim(source_type=SourceType.ALGORITHMIC_MEDIA, ingredients=parts)
    )
    assert [one.title for one in credential.ingredients] == ["script", "voice"]
    assert all(one.sha256 for one in credential.ingredients)


def test_a_full_disk_leaves_nothing_behind(originals: Originals, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"earlier")
    program = (
        "import resource, signal, sys; from pathlib import Path; from provenance.signing import sign_file; "
        "from provenance.claims import Claim, SourceType; from provenance.identity import development_identity; "
        "development_identity(); signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (12000, 12000)); "
        "sign_file(Path(sys.argv[1]), Path(sys.argv[2]), Claim(source_type=SourceType.DIGITAL_CAPTURE))"
    )
    words = [sys.executable, "-c", program, str(originals["clip.mp4"]), str(tmp_path / "out.mp4")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "ProvenanceError: cannot write" in done.stderr.splitlines()[-1]
    assert "File too large" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"earlier"


@pytest.mark.parametrize("native", [True, False])
def test_both_kinds_of_streams_sign_alike(
    native: bool, originals: Originals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "file_stream", partial(streams.file_stream, native=native))
    for ending in ("mp4", "png", "wav"):
        credential = sign_file(originals[f"clip.{ending}"], tmp_path / f"a.{ending}", SYNTHETIC)
        assert credential.standing is Standing.TRUSTED


@pytest.mark.parametrize("media_boxes", [1, 2])
def test_a_large_film_is_hashed_in_pieces_where_the_library_can_read_them(
    media_boxes: int, originals: Originals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "IN_PIECES_FROM_BYTES", 1000)
    monkeypatch.setattr(signing, "PIECE_KILOBYTES", 1)
    film = tmp_path / "film.mp4"
    film.write_bytes(originals["clip.mp4"].read_bytes() + (media_boxes - 1) * (b"\x00\x00\x10\x00mdat" + bytes(4088)))
    credential = sign_file(film, tmp_path / "out.mp4", SYNTHETIC)
    assert credential.standing is Standing.TRUSTED
    statements = raw_manifest(tmp_path / "out.mp4", detailed=True)["assertion_store"]
    # with two boxes the library reads its own pieces at some times and not at others; then the film is hashed whole
    assert media_boxes == 2 or "merkle" in statements["c2pa.hash.bmff.v3"]
    broken = flip_content((tmp_path / "out.mp4").read_bytes(), "mp4")
    (tmp_path / "out.mp4").write_bytes(broken)
    assert read_credential(tmp_path / "out.mp4").standing is Standing.BROKEN


def test_a_result_that_does_not_hold_is_not_delivered(
    originals: Originals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = signing._write_by_library

    def spoil(order: Any, reading: Any, writing: BinaryIO, **how: bool) -> bytes:
        manifest = write(order, reading, writing, **how)
        content = Path(writing.name).read_bytes()
        Path(writing.name).write_bytes(flip_content(content, "png"))
        return manifest

    monkeypatch.setattr(signing, "_write_by_library", spoil)
    with pytest.raises(ProvenanceError, match="the content was changed"):
        sign_file(originals["clip.png"], tmp_path / "out.png", SYNTHETIC)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spoiled", "complaint"),
    [(b"jumd", "is no C2PA manifest"), (b"uuid", "where it was put"), (b"Newsroom", "does not hold")],
)
def test_a_film_whose_manifest_does_not_hold_is_not_delivered(
    spoiled: bytes, complaint: str, originals: Originals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(builder: Any, mime: str) -> bytes:
        return streams.signed_box(builder, mime).replace(spoiled, spoiled.swapcase())

    monkeypatch.setattr(signing, "signed_box", spoil)
    with pytest.raises(ProvenanceError, match=complaint):
        sign_file(originals["clip.mp4"], tmp_path / "out.mp4", replace(SYNTHETIC, title="Newsroom"))
    assert not list(tmp_path.iterdir())


class TokenUnplugged(Exception):
    """What a signing token might raise."""


def test_what_a_signing_callback_raises_reaches_the_caller(originals: Originals, tmp_path: Path) -> None:
    def unplugged(message: bytes) -> bytes:
        raise TokenUnplugged(f"{len(message)} bytes not signed")

    chain = development_identity(notify=lambda line: None).chain_pem
    identity = SigningIdentity.from_callback(unplugged, chain_pem=chain)
    with pytest.raises(TokenUnplugged, match="bytes not signed"):
        sign_file(originals["clip.png"], tmp_path / "o.png", SYNTHETIC, identity=identity)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["raw", "der"])
def test_a_signing_callback_signs(form: str, originals: Originals, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    own = development_identity(notify=lambda line: None)
    assert own.key_pem is not None
    key = load_pem_private_key(own.key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)

    def ask(message: bytes) -> bytes:
        der = key.sign(message, ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(der)
        return der if form == "der" else r.to_bytes(32) + s.to_bytes(32)

    identity = SigningIdentity.from_callback(ask, chain_pem=own.chain_pem)
    assert (
        sign_file(originals["clip.png"], tmp_path / "o.png", SYNTHETIC, identity=identity).standing is Standing.TRUSTED
    )


def test_a_callback_with_the_wrong_key_is_caught(
    originals: Originals, stranger: SigningIdentity, tmp_path: Path
) -> None:
    from provenance.signatures import sign_bytes

    chain = development_identity(notify=lambda line: None).chain_pem
    identity = SigningIdentity.from_callback(lambda message: sign_bytes(stranger, message), chain_pem=chain)
    with pytest.raises(ProvenanceError, match=r"out\.png was not written|cannot sign"):
        sign_file(originals["clip.png"], tmp_path / "out.png", SYNTHETIC, identity=identity)
    assert not list(tmp_path.iterdir())


def test_a_signer_without_a_time_stamp_authority_in_reach_fails_in_one_line(
    originals: Originals, tmp_path: Path
) -> None:
    from dataclasses import replace

    identity = replace(development_identity(notify=lambda line: None), time_stamp_url="http://127.0.0.1:9/")
    with pytest.raises(ProvenanceError) as caught:
        sign_file(originals["clip.png"], tmp_path / "o.png", SYNTHETIC, identity=identity)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_result_never_replaces_what_it_was_made_from(originals: Originals, tmp_path: Path) -> None:
    parent = tmp_path / "parent.png"
    parent.write_bytes(originals["other.png"].read_bytes())
    (tmp_path / "link.png").symlink_to(parent)
    for claim in (
        Claim(source_type=SourceType.HUMAN_EDITS, action="edited", parent=parent),
        Claim(source_type=SourceType.ALGORITHMIC_MEDIA, ingredients=(Ingredient(parent, "portrait"),)),
    ):
        for destination in (parent, tmp_path / "link.png"):
            with pytest.raises(ProvenanceError, match="was made from"):
                sign_file(originals["clip.png"], destination, claim)
    assert parent.read_bytes() == originals["other.png"].read_bytes()
    assert (tmp_path / "link.png").is_symlink()


@pytest.mark.parametrize("watermark", [False, True])
def test_names_and_places_that_no_file_can_have_are_told_in_one_line(
    watermark: bool, originals: Originals, signed: Callable[[str], Path], tmp_path: Path
) -> None:
    from provenance.signing_durable import sign_durable

    sign = partial(sign_durable, store=None, watermark=watermark)
    with pytest.raises(ProvenanceError, match="name too long"):
        sign(originals["clip.png"], tmp_path / ("x" * 300) / "a.png", SYNTHETIC)
    gone = Claim(source_type=SourceType.HUMAN_EDITS, action="edited", parent=tmp_path / "gone.png")
    with pytest.raises(ProvenanceError, match="leave out the parent"):
        sign(signed("clip.png"), tmp_path / "a.png", gone)
    assert [path.name for path in tmp_path.iterdir()] == ["signed-clip.png"]
