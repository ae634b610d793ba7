from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
from containers import flip_content
from talking_scenes import scene, talking_scene, voice
from typer.testing import CliRunner, Result

from media.clip import Clip
from media.perturb import perturb
from media.video import ClipWriter, read_clip, write_clip
from provenance.claims import Claim, SoftBinding, SourceType
from provenance.cli import app
from provenance.credential import Standing, read_credential, read_manifest
from provenance.durable import DurableMaker, bindings, keeper
from provenance.errors import ProvenanceError
from provenance.find import Found, find_credential
from provenance.fingerprint import PICTURE_ALGORITHM, Fingerprint, PictureFingerprinter
from provenance.identity import create_identity
from provenance.perceiving import perceive
from provenance.signing import sign_file
from provenance.store import CredentialStore, store_folder
from provenance.trust import TrustAnchors
from provenance.watermark import ALGORITHM, identifier_text

CLAIM = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA)


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@cache
def original() -> Clip:
    return talking_scene(1, 1, frames=50, side=256, sound=1)


_WRITTEN: dict[tuple[int, bool], tuple[DurableMaker, bytes]] = {}


def written(clip: Clip, watermark: bool) -> tuple[DurableMaker, bytes]:
    """A marked clip as a file, and its maker: the same ones for all tests that ask for the same clip."""
    if (id(clip), watermark) not in _WRITTEN:
        samples, rate = (clip.sound.samples, clip.sound.sample_rate_hz) if clip.sound else (None, 0)
        maker = DurableMaker(fps=float(clip.fps), sound=samples, sample_rate_hz=rate, watermark=watermark)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "raw.mp4"
            with ClipWriter(path, clip.fps, clip.width, clip.height, clip.sound, preset="veryfast") as writer:
                for image in maker.marked(clip.frames):
                    writer.add(image)
            _WRITTEN[id(clip), watermark] = maker, path.read_bytes()
    return _WRITTEN[id(clip), watermark]


def signed(folder: Path, clip: Clip, *, watermark: bool = True, name: str = "signed.mp4") -> Path:
    """A clip as the generator writes it: marked, signed and kept in the store of this test's user."""
    maker, content = written(clip, watermark)
    (folder / "raw.mp4").write_bytes(content)
    out = folder / name
    keep = maker.keeper(CredentialStore.of_this_user())
    sign_file(folder / "raw.mp4", out, maker.bound(CLAIM), notify=lambda line: None, keep=keep)
    return out


def stripped(path: Path, out: Path, *, crf: int = 28, crop: float = 1.0, sound: bool = True) -> Path:
    """What a platform gives back."""
    clip = perturb(read_clip(path), "crop", crop)
    write_clip(clip if sound else Clip(clip.frames, clip.fps), out, crf=crf, preset="veryfast")
    return out


def find(path: Path) -> Found:
    return find_credential(path, CredentialStore.of_this_user())


def test_the_manifest_in_the_file_comes_first(tmp_path: Path) -> None:
    path = signed(tmp_path, original())
    found = find(path)
    assert (found.how, found.confidence) == ("manifest", 1.0)
    assert found.credential is not None
    assert found.credential.standing is Standing.TRUSTED
    assert found.heard is not None and found.heard.known
    assert not any("another credential" in reason for reason in found.reasons)


def test_a_stripped_copy_is_found_by_its_watermark(tmp_path: Path) -> None:
    path = signed(tmp_path, original())
    found = find(stripped(path, tmp_path / "copy.mp4", crop=0.9))
    assert found.how == "watermark"
    assert found.credential is not None and found.confidence is not None
    assert found.confidence > 0.999
    assert found.credential.standing is Standing.TRUSTED
    assert found.credential.sha256 == read_credential(path).sha256
    assert found.credential.declares_synthetic is True
    assert found.difference is not None and found.difference < 0.5
    assert any("does not prove that this copy is unaltered" in reason for reason in found.reasons)
    assert not any("unchanged" in reason for reason in found.reasons)


def test_an_unmarked_one_is_found_by_its_fingerprint(tmp_path: Path) -> None:
    path = signed(tmp_path, original(), watermark=False)
    found = find(stripped(path, tmp_path / "copy.mp4", crf=33))
    assert found.how == "fingerprint"
    assert found.credential is not None
    assert found.credential.sha256 == read_credential(path).sha256
    assert found.heard is None


@pytest.mark.parametrize("watermark", [True, False])
def test_a_mirrored_copy_is_found_and_told(watermark: bool, tmp_path: Path) -> None:
    path = signed(tmp_path, original(), watermark=watermark)
    clip = read_clip(path)
    flipped = Clip(np.ascontiguousarray(clip.frames[:, :, ::-1]), clip.fps, clip.sound)
    write_clip(flipped, tmp_path / "copy.mp4", crf=28, preset="veryfast")
    found = find(tmp_path / "copy.mp4")
    assert found.how == ("watermark" if watermark else "fingerprint")
    assert found.likeness is not None and found.likeness.is_mirrored
    assert "it is mirrored: left and right are swapped" in found.reasons
    # the mark, or the print, is of that very picture: nothing was copied onto another one
    assert found.difference is not None and found.difference < 0.4
    assert not any("not those of the original" in reason for reason in found.reasons)


def test_a_mirrored_print_is_mirrored_back_by_mirroring_again() -> None:
    prints = perceived_prints()
    swapped = prints.mirrored()
    assert not np.array_equal(swapped.look_SHW, prints.look_SHW)
    back = swapped.mirrored()
    assert np.array_equal(back.look_SHW, prints.look_SHW) and np.array_equal(back.motion_THW, prints.motion_THW)
    assert all(np.array_equal(one, other) for one, other in zip(back.later, prints.later, strict=True))


def perceived_prints() -> Fingerprint:
    pictures = PictureFingerprinter()
    for number, image in enumerate(original().frames[:20]):
        pictures.add(number / 25, image)
    return Fingerprint(*pictures.prints(), later=pictures.later())


def test_another_clip_is_not_found(tmp_path: Path) -> None:
    signed(tmp_path, original())
    write_clip(talking_scene(2, 2, frames=50, sound=2), tmp_path / "other.mp4")
    found = find(tmp_path / "other.mp4")
    assert (found.how, found.credential, found.confidence) == (None, None, None)
    assert json.loads(json.dumps(found.to_json()))["found"] is False


def test_a_broken_credential_is_said_and_the_original_recovered(tmp_path: Path) -> None:
    path = signed(tmp_path, original())
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(flip_content(path.read_bytes(), "mp4"))
    assert read_credential(broken).standing is Standing.BROKEN
    found = find(broken)
    assert found.how in ("watermark", "fingerprint")
    assert found.embedded.standing is Standing.BROKEN
    assert any("credential in this file is broken" in reason for reason in found.reasons)


def test_a_stranger_who_signs_over_a_marked_clip_is_contradicted(tmp_path: Path) -> None:
    path = signed(tmp_path, original())
    copy = stripped(path, tmp_path / "copy.mp4")
    stolen = tmp_path / "stolen.mp4"
    capture = Claim(source_type=SourceType.DIGITAL_CAPTURE)
    sign_file(copy, stolen, capture, identity=create_identity(tmp_path / "stranger"))
    found = find(stolen)
    assert found.how == "manifest"
    assert found.credential is not None and found.credential.standing is Standing.UNKNOWN_SIGNER
    assert any("mark of another credential" in reason for reason in found.reasons)


def claimed_by_a_stranger(folder: Path, copy: Path, identifier: int) -> Path:
    """A stranger signs a copy, binds the mark of the original in the manifest, and keeps that in the store first."""
    bound = SoftBinding(ALGORITHM, ({"scope": {}, "value": identifier_text(identifier)},), is_watermark=True)
    prints = perceive(copy).prints
    pictures = SoftBinding(PICTURE_ALGORITHM, tuple(prints.picture_blocks()))
    claim = Claim(source_type=SourceType.DIGITAL_CAPTURE, soft_bindings=(bound, pictures))
    store = CredentialStore.of_this_user()
    keep = keeper(store, prints, identifier, watermarked=True)
    stolen = folder / "stolen.mp4"
    sign_file(copy, stolen, claim, identity=create_identity(folder / "stranger"), keep=keep)
    for path in store_folder().glob("entries/*/*.json"):
        facts = json.loads(path.read_text())
        if facts["file_name"] == "stolen.mp4":
            path.write_text(json.dumps({**facts, "kept_utc": "2001-01-01T00:00:00Z"}))
    return stolen


def test_a_stranger_who_binds_the_mark_of_another_gains_nothing_by_it(tmp_path: Path) -> None:
    path = signed(tmp_path, original())
    copy = stripped(path, tmp_path / "copy.mp4")
    (entry,) = CredentialStore.of_this_user().entries()
    stolen = claimed_by_a_stranger(tmp_path, copy, entry.identifier)
    found = find(stolen)
    assert found.how == "manifest"
    assert any(reason.startswith("the mark that it claims is that of signed.mp4") for reason in found.reasons)
    # and a copy of the original still leads to the original, whoever was "first"
    found = find(copy)
    assert (found.how, found.credential is not None and found.credential.file) == ("watermark", "signed.mp4")
    assert found.confidence is not None and found.confidence > 0.999
    assert [one["file"] for one in found.to_json()["others"]] == ["stolen.mp4"]
    assert any(reason.startswith("others claim it too") for reason in found.reasons)
    # where nobody is trusted, nothing tells the two apart, and that is said
    found = find_credential(copy, CredentialStore.of_this_user(), trust=TrustAnchors.none())
    assert found.confidence is not None and found.confidence < 0.51
    assert any("2 signers claim it with equal right" in reason for reason in found.reasons)


def test_an_entry_that_its_signed_manifest_does_not_bear_out_is_passed_over(tmp_path: Path) -> None:
    path = signed(tmp_path, original())
    store = CredentialStore.of_this_user()
    (entry,) = store.entries()
    cv2.imwrite(str(tmp_path / "a.png"), scene(8, 128).astype(np.uint8))
    sign_file(tmp_path / "a.png", tmp_path / "b.png", CLAIM, keep=keeper(store, entry.prints, 5, watermarked=False))
    other = next(one for one in store.entries() if one.file_name == "b.png")
    forged = {**entry.to_json(), "manifest_sha256": other.manifest_sha256, "kept_utc": "2001-01-01T00:00:00Z"}
    name = f"{identifier_text(entry.identifier)}-{other.manifest_sha256[:32]}.json"
    (store_folder() / "entries" / name[:2] / name).write_text(json.dumps(forged))
    found = find(stripped(path, tmp_path / "copy.mp4"))
    assert found.credential is not None and found.credential.file == "signed.mp4"
    assert any("its manifest binds no such mark" in reason for reason in found.reasons)


def test_two_entries_of_one_look_share_the_confidence_and_are_both_named(tmp_path: Path) -> None:
    path = signed(tmp_path, original(), watermark=False)
    store = CredentialStore.of_this_user()
    (entry,) = store.entries()
    claim = Claim(source_type=SourceType.DIGITAL_CAPTURE, soft_bindings=bindings(entry.prints, None))
    stranger = create_identity(tmp_path / "stranger")
    keep = keeper(store, entry.prints, watermarked=False)
    sign_file(tmp_path / "raw.mp4", tmp_path / "second.mp4", claim, identity=stranger, keep=keep)
    copy = stripped(path, tmp_path / "copy.mp4")
    found = find_credential(copy, store, trust=TrustAnchors.none())
    assert found.how == "fingerprint"
    assert found.confidence == pytest.approx(0.5, abs=0.01)
    assert len(found.others) == 1
    found = find(copy)
    assert found.credential is not None and found.credential.file == "signed.mp4"
    assert found.confidence is not None and 0.99 < found.confidence <= 0.999


def test_another_take_of_the_same_face_and_speech_is_not_found(tmp_path: Path) -> None:
    signed(tmp_path, original(), watermark=False)
    write_clip(talking_scene(1, 7, frames=50, side=256, sound=1), tmp_path / "take.mp4")
    assert find(tmp_path / "take.mp4").how is None


def test_a_mark_copied_onto_other_pictures_is_told(tmp_path: Path) -> None:
    mine = signed(tmp_path, original())
    mark = read_clip(mine).frames[:25].astype(np.float32).mean(0) - original().frames[:25].astype(np.float32).mean(0)
    other = np.stack([scene(40, 256)] * 30) + mark * 1.5
    write_clip(Clip(np.clip(np.rint(other), 0, 255).astype(np.uint8), original().fps), tmp_path / "forged.mp4", crf=14)
    found = find(tmp_path / "forged.mp4")
    assert found.how == "watermark"
    assert any("pictures are not those of the original" in reason for reason in found.reasons)


def test_a_dubbed_copy_is_told(tmp_path: Path) -> None:
    path = signed(tmp_path, original())
    clip = read_clip(path)
    write_clip(Clip(clip.frames, clip.fps, voice(60, 2.0)), tmp_path / "dubbed.mp4", crf=23, preset="veryfast")
    found = find(tmp_path / "dubbed.mp4")
    assert found.how == "watermark"
    assert any("sound is not that of the original" in reason for reason in found.reasons)


def test_a_mark_that_no_store_knows_is_named(tmp_path: Path) -> None:
    path = signed(tmp_path, original())
    copy = stripped(path, tmp_path / "copy.mp4", crf=20)
    found = find_credential(copy, CredentialStore(tmp_path / "empty"))
    assert found.how is None
    assert found.heard is not None and not found.heard.known
    assert any("which is not kept in" in reason for reason in found.reasons)


def test_a_kept_manifest_is_judged_without_its_file_and_broken_when_changed(tmp_path: Path) -> None:
    signed(tmp_path, original())
    store = CredentialStore.of_this_user()
    (entry,) = store.entries()
    content = store.manifest_of(entry)
    assert read_manifest(content).standing is Standing.TRUSTED
    at = content.index(b"trainedAlgorithmicMedia")
    assert read_manifest(content[:at] + b"T" + content[at + 1 :]).standing is Standing.BROKEN
    with pytest.raises(ProvenanceError, match="no C2PA manifest"):
        read_manifest(b"nothing of the kind")


def test_soft_bindings_stand_in_the_manifest_for_every_verifier(tmp_path: Path) -> None:
    credential = read_credential(signed(tmp_path, original()))
    names = [one.algorithm for one in credential.soft_bindings]
    assert names == ["org.countermark.watermark.1", "org.countermark.picture.2", "org.countermark.sound.1"]
    assert [action.name for action in credential.actions] == ["c2pa.created", "c2pa.watermarked.bound"]
    (entry,) = CredentialStore.of_this_user().entries()
    assert credential.soft_bindings[0].value == f"{entry.identifier:012x}"


def test_the_same_clip_gets_the_same_mark_and_another_one_another(tmp_path: Path) -> None:
    def identifier(clip: Clip) -> int:
        maker = DurableMaker(fps=float(clip.fps))
        assert sum(1 for _ in maker.marked(clip.frames[:3])) == 3
        return maker.identifier

    assert identifier(original()) == identifier(replace(original()))
    assert identifier(original()) != identifier(talking_scene(1, 2, frames=3, side=256))


def test_a_store_that_cannot_be_written_costs_a_line_and_not_the_file(tmp_path: Path) -> None:
    store_folder().parent.mkdir(parents=True)
    store_folder().write_text("a file where the folder should be")
    maker, said = DurableMaker(fps=25.0), []
    write_clip(Clip(np.stack(list(maker.marked(original().frames[:10]))), original().fps), tmp_path / "raw.mp4")
    keep = maker.keeper(CredentialStore.of_this_user(), said.append)
    sign_file(tmp_path / "raw.mp4", tmp_path / "out.mp4", maker.bound(CLAIM), notify=lambda line: None, keep=keep)
    assert read_credential(tmp_path / "out.mp4").standing is Standing.TRUSTED
    assert len(said) == 1 and "was not kept" in said[0]


def test_a_soft_binding_without_a_value_is_refused() -> None:
    for blocks in ((), ({"scope": {}},), ({"value": "x"},), ({"scope": {}, "value": 7},)):
        with pytest.raises(ValueError, match="block"):
            SoftBinding("org.example", blocks)


def test_a_picture_is_marked_signed_stripped_and_found_from_the_command_line(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), scene(7, 400).astype(np.uint8))
    out, copy = tmp_path / "signed.png", tmp_path / "copy.jpg"
    result = run("sign", picture, "-o", out, "--source-type", "digitalCreation", "--watermark")
    assert result.exit_code == 0, result.stderr
    image = cv2.resize(cv2.imread(str(out)), (300, 300), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(copy), image, [cv2.IMWRITE_JPEG_QUALITY, 80])
    result = run("find", copy, "--json")
    facts = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (facts["found"], facts["how"]) == (True, "watermark")
    assert facts["credential"]["file"] == "signed.png"
    assert facts["credential"]["recovered"] is True
    assert "RECOVERED by watermark" in run("find", copy).stdout


def test_sound_is_found_by_its_fingerprint_from_the_command_line(tmp_path: Path) -> None:
    import wave

    for name, seed in (("speech.wav", 1), ("other.wav", 2)):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", "not compressed"))
            file.writeframes((voice(seed, 3.0).samples[:, 0] * 32_000).astype(np.int16).tobytes())
    result = run("sign", tmp_path / "speech.wav", "-o", tmp_path / "signed.wav", "--source-type", "digitalCapture")
    assert result.exit_code == 0, result.stderr
    facts = json.loads(run("find", tmp_path / "speech.wav", "--json").stdout)
    assert (facts["found"], facts["how"]) == (True, "fingerprint")
    assert run("find", tmp_path / "other.wav").exit_code == 3


def test_damaged_entries_are_counted_and_do_not_hide_the_others(tmp_path: Path) -> None:
    path = signed(tmp_path, original())
    (store_folder() / "entries" / "00").mkdir()
    (store_folder() / "entries" / "00" / f"{'0' * 12}-{'0' * 32}.json").write_text("{")
    found = find(stripped(path, tmp_path / "copy.mp4"))
    assert found.how == "watermark"
    assert any(reason.startswith("1 damaged entries") for reason in found.reasons)


def test_no_store_keeps_nothing_and_binds_nothing(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), scene(8, 128).astype(np.uint8))
    words = ("--source-type", "digitalCreation", "--no-store")
    assert run("sign", tmp_path / "a.png", "-o", tmp_path / "b.png", *words).exit_code == 0
    assert not store_folder().exists()
    assert read_credential(tmp_path / "b.png").soft_bindings == ()


@pytest.mark.parametrize(("name", "content"), [("gone.mp4", None), ("text.mp4", b"no video"), ("empty.png", b"")])
def test_what_is_no_media_file_ends_with_one_line(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = run("find", tmp_path / name)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1


def test_a_store_that_is_not_there_is_an_error_only_when_it_was_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), scene(8, 128).astype(np.uint8))
    assert run("find", tmp_path / "a.png").exit_code == 3
    result = run("find", tmp_path / "a.png", "--store", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "there is no credential store in" in result.stderr


def test_marking_a_signed_file_keeps_its_history(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), scene(9, 200).astype(np.uint8))
    words = ("--source-type", "digitalCreation")
    assert run("sign", tmp_path / "a.png", "-o", tmp_path / "b.png", *words).exit_code == 0
    assert run("sign", tmp_path / "b.png", "-o", tmp_path / "c.png", *words, "--watermark").exit_code == 0
    credential = read_credential(tmp_path / "c.png")
    assert [one.relationship for one in credential.ingredients] == ["parentOf"]
    assert credential.ingredients[0].signer is not None
