"""Small pictures out of a credential: who they are of, that they are made anew, and strangers' tricks."""

from __future__ import annotations

import io
import json
from pathlib import Path

import c2pa
import pytest
from PIL import Image

from provenance import thumbnails
from provenance.claims import SourceType
from provenance.identity import SigningIdentity
from provenance.thumbnails import SIDE, chain_thumbnails


def picture(path: Path, colour: tuple[int, int, int]) -> Path:
    Image.new("RGB", (600, 400), colour).save(path)
    return path


def signed(source: Path, destination: Path, identity: SigningIdentity, *ingredients: Path) -> Path:
    """Signed by the library as other programs do: with thumbnails of everything."""
    made = {"action": "c2pa.created", "digitalSourceType": SourceType.DIGITAL_CREATION.uri}
    manifest = {
        "claim_generator_info": [{"name": "test", "version": "1"}],
        "title": source.name,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [made]}}],
    }
    with c2pa.Context.from_dict({"version": 1, "builder": {"thumbnail": {"enabled": True}}}) as context:
        builder = c2pa.Builder(json.dumps(manifest), context)
        for one in ingredients:
            with one.open("rb") as stream:
                builder.add_ingredient({"title": one.name, "relationship": "componentOf"}, "image/png", stream)
        signer = c2pa.Signer.from_info(
            c2pa.C2paSignerInfo(identity.algorithm.encode(), identity.chain_pem.encode(), identity.key_pem, None)
        )
        with source.open("rb") as reading, destination.open("w+b") as writing:
            builder.sign(signer, "image/png", reading, writing)
    return destination


def colour_of(content: bytes) -> tuple[int, ...]:
    with Image.open(io.BytesIO(content)) as shown:
        assert shown.format == "JPEG" and max(shown.size) <= SIDE
        pixel = shown.resize((1, 1)).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return tuple(round(value / 64) for value in pixel)


def test_each_link_of_the_chain_shows_its_own_picture(tmp_path: Path, stranger: SigningIdentity) -> None:
    red, green, blue = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    inner = signed(
        picture(tmp_path / "g.png", green), tmp_path / "green.png", stranger, picture(tmp_path / "b.png", blue)
    )
    outer = signed(picture(tmp_path / "r.png", red), tmp_path / "red.png", stranger, inner)
    shown = {place: colour_of(content) for place, content in chain_thumbnails(outer).items()}
    assert shown[()] == (4, 0, 0) and shown[(0,)] == (0, 4, 0) and shown[(0, 0)] == (0, 0, 4)


def test_files_without_any_have_none(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    assert chain_thumbnails(tmp_path / "text.mp4") == {}
    assert chain_thumbnails(picture(tmp_path / "plain.png", (1, 2, 3))) == {}


def test_a_manifest_among_its_own_ancestors_is_followed_once() -> None:
    one = {"thumbnail": {"identifier": "a"}, "active_manifest": "m"}
    report = {"active_manifest": "m", "manifests": {"m": {"ingredients": [one, "no table", {"thumbnail": 3}]}}}
    assert list(thumbnails._named(report)) == [((0,), "a")]
    assert list(thumbnails._named([])) == [] and list(thumbnails._named({"manifests": 3})) == []


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(40), bytes(5 << 20)])
def test_what_is_no_small_picture_is_left_out(content: bytes) -> None:
    assert thumbnails._small(content) is None


def test_a_bomb_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (300, 300)).save(buffer, "PNG")
    monkeypatch.setattr(thumbnails, "MOST_PIXELS", 80_000)
    assert thumbnails._small(buffer.getvalue()) is None
