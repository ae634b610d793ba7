from __future__ import annotations

import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from time_stamps import time_stamp_authority

from provenance import films, signing
from provenance.claims import Claim, Ingredient, SourceType
from provenance.credential import Standing, read_credential
from provenance.errors import ProvenanceError
from provenance.files import copy_range
from provenance.films import Film, film_of, manifest_of, write_with_room
from provenance.identity import development_identity
from provenance.signing import sign_file
from provenance.streams import signed_box
from provenance.trust import TrustAnchors

SYNTHETIC = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA)
FTYP = b"isom\x00\x00\x02\x00isomiso2avc1mp41"
HEAD = 32
"""Bytes of the first box."""


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def large_box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content


def offsets(*places: int, wide: bool = False) -> bytes:
    kind, form = (b"co64", "Q") if wide else (b"stco", "I")
    return box(kind, struct.pack(f">II{len(places)}{form}", 0, len(places), *places))


def track(table: bytes, *, reference: bytes = box(b"url ", b"\x00\x00\x00\x01")) -> bytes:
    named = box(b"dinf", box(b"dref", struct.pack(">II", 0, 1) + reference))
    inner = box(b"minf", box(b"vmhd", bytes(12)) + named + box(b"stbl", box(b"stsd", bytes(8)) + table))
    return box(b"trak", box(b"tkhd", bytes(84)) + box(b"mdia", box(b"mdhd", bytes(24)) + inner))


def film(*tracks: bytes, others: bytes = b"", behind: bytes = b"") -> bytes:
    return box(b"ftyp", FTYP) + box(b"moov", box(b"mvhd", bytes(100)) + b"".join(tracks) + others) + behind


def random_film(seed: int) -> bytes:
    """A film of boxes in any order, with tracks whose offsets lie anywhere in it."""
    random = np.random.default_rng(seed)
    media = [random.bytes(int(random.integers(0, 3000))) for _ in range(random.integers(1, 4))]
    last = media.pop() if random.random() < 0.3 else None
    boxes = [(large_box if random.random() < 0.3 else box)(b"mdat", content) for content in media]
    boxes += [box(bytes(kind), bytes(9)) for kind in random.choice([b"free", b"skip", b"wide"], random.integers(0, 4))]
    index = box(b"mvhd", bytes(100)) + box(b"udta", box(b"name", random.bytes(20)))
    for _ in range(random.integers(1, 4)):
        # somewhere in the film, which is longer than that
        places = random.integers(HEAD, 4000, random.integers(0, 60)).tolist()
        index += track(offsets(*places, wide=bool(random.random() < 0.3)))
    boxes += [box(b"moov", index), box(b"free", bytes(4000))]
    random.shuffle(boxes)
    end = b"" if last is None else struct.pack(">I4s", 0, b"mdat") + last
    return box(b"ftyp", FTYP) + b"".join(boxes) + end


def parts_of(path: Path) -> Film | None:
    with path.open("rb") as stream:
        return film_of(stream.fileno())


def without_credential(path: Path) -> tuple[bytes, int]:
    """Everything of a signed film but the box behind its first, and how large that is."""
    content = path.read_bytes()
    head = struct.unpack_from(">I", content)[0]
    length, kind = struct.unpack_from(">I4s", content, head)
    assert kind == b"uuid"
    return content[:head] + content[head + length :], length


@pytest.mark.parametrize("seed", range(12))
def test_a_film_is_written_as_the_library_writes_it(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "film.mp4"
    source.write_bytes(random_film(seed))
    assert parts_of(source) is not None
    ours = sign_file(source, tmp_path / "ours.mp4", replace(SYNTHETIC, title="film"))
    monkeypatch.setattr(signing, "film_of", lambda number: None)
    theirs = sign_file(source, tmp_path / "theirs.mp4", replace(SYNTHETIC, title="film"))
    assert without_credential(tmp_path / "ours.mp4") == without_credential(tmp_path / "theirs.mp4")
    assert ours.standing is theirs.standing is Standing.TRUSTED
    # what the library hashed when it was asked is what it finds when it reads
    assert read_credential(tmp_path / "ours.mp4").standing is Standing.TRUSTED


def test_a_film_with_a_history_and_a_time_stamp_is_read_back_as_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(random_film(1))
    sign_file(tmp_path / "film.mp4", tmp_path / "before.mp4", SYNTHETIC)
    used = (Ingredient(tmp_path / "before.mp4", "input"),)
    claim = replace(SYNTHETIC, action="edited", parent=tmp_path / "before.mp4", ingredients=used)
    with time_stamp_authority(tmp_path) as url:
        identity = replace(development_identity(notify=lambda line: None), time_stamp_url=url)
        trust = TrustAnchors.default(time_stamps=[tmp_path / "tsa-root.pem"])
        told = sign_file(tmp_path / "film.mp4", tmp_path / "out.mp4", claim, identity=identity, trust=trust)
    read = read_credential(tmp_path / "out.mp4", trust=trust)
    assert read.signed_at is not None and len(read.ingredients) == 2
    assert told == replace(read, checks=told.checks)
    assert [one.code for one in read.checks if one not in told.checks] == ["assertion.bmffHash.match"]


def test_every_offset_moves_by_the_size_of_the_box(tmp_path: Path) -> None:
    content = film(track(offsets(40, 900)), track(offsets(41, wide=True)), behind=box(b"mdat", bytes(500)))
    (tmp_path / "a.mp4").write_bytes(content)
    plan = parts_of(tmp_path / "a.mp4")
    assert plan is not None
    with (tmp_path / "a.mp4").open("rb") as source, (tmp_path / "b.mp4").open("xb") as target:
        write_with_room(source.fileno(), target.fileno(), plan, box(b"uuid", bytes(92)))
    moved = film(track(offsets(140, 1000)), track(offsets(141, wide=True)), behind=box(b"mdat", bytes(500)))
    assert (tmp_path / "b.mp4").read_bytes() == moved[:HEAD] + box(b"uuid", bytes(92)) + moved[HEAD:]


INSIDE = track(offsets(40))
MEDIA = box(b"mdat", bytes(500))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x00\x00\x18ftyp",
        box(b"free") + film(INSIDE, behind=MEDIA),
        box(b"ftyp", FTYP) + MEDIA,
        film(INSIDE, behind=MEDIA) + box(b"moov"),
        film(INSIDE, behind=MEDIA + b"tail"),
        film(INSIDE, behind=MEDIA)[:-1],
        film(INSIDE, behind=MEDIA + box(b"moof", bytes(8))),
        film(INSIDE, behind=MEDIA + box(b"uuid", bytes(20))),
        film(INSIDE, behind=MEDIA + box(b"meta", bytes(20))),
        film(INSIDE, others=box(b"mvex"), behind=MEDIA),
        film(INSIDE, others=box(b"meta", box(b"iloc")), behind=MEDIA),
        film(INSIDE, others=b"\x00\x00\x00\x00", behind=MEDIA),
        film(track(b""), behind=MEDIA),
        film(track(offsets(40) + offsets(40)), behind=MEDIA),
        film(track(offsets(HEAD - 1)), behind=MEDIA),
        film(track(offsets(40, 1_000_000)), behind=MEDIA),
        film(track(offsets(2**63, wide=True)), behind=MEDIA),
        film(track(offsets(40) + b"\x00\x00\x00\x07"), behind=MEDIA),
        film(track(box(b"stco", struct.pack(">III", 0, 2, 40))), behind=MEDIA),
        film(track(offsets(40), reference=box(b"url ", b"\x00\x00\x00\x00file:///other")), behind=MEDIA),
        film(INSIDE, behind=struct.pack(">I4sQ", 1, b"mdat", 2**60)),
    ],
)  # fmt: skip
def test_a_film_that_is_not_plain_is_left_to_the_library(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    assert parts_of(tmp_path / "a.mp4") is None


def test_a_film_whose_offsets_would_outgrow_their_numbers_is_left_to_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").write_bytes(film(INSIDE, behind=MEDIA))
    plan = parts_of(tmp_path / "a.mp4")
    assert plan is not None
    assert plan.most_room == 2**32 - 1 - 40
    monkeypatch.setattr(films, "LEAST_ROOM", 2**32)
    assert parts_of(tmp_path / "a.mp4") is None


def test_a_film_that_gets_shorter_while_it_is_copied_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(film(INSIDE, behind=MEDIA))
    plan = parts_of(tmp_path / "a.mp4")
    assert plan is not None
    with (tmp_path / "a.mp4").open("r+b") as source, (tmp_path / "b.mp4").open("xb") as target:
        source.truncate(plan.size - 10)
        with pytest.raises(EOFError, match="the file ends at byte"):
            write_with_room(source.fileno(), target.fileno(), plan, box(b"uuid"))
        source.truncate(plan.index_start + 20)
        with pytest.raises(ValueError, match="was changed"):
            write_with_room(source.fileno(), target.fileno(), plan, box(b"uuid"))


def test_a_film_that_is_written_to_while_it_is_signed_is_not_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "film.mp4"
    source.write_bytes(film(INSIDE, behind=MEDIA))

    def meanwhile(builder: Any, mime: str) -> bytes:
        source.write_bytes(film(INSIDE, behind=MEDIA + MEDIA))
        return signed_box(builder, mime)

    monkeypatch.setattr(signing, "signed_box", meanwhile)
    with pytest.raises(ProvenanceError, match="was changed while it was signed"):
        sign_file(source, tmp_path / "out.mp4", SYNTHETIC)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_film_without_a_manifest_at_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(film(INSIDE, behind=MEDIA))
    with (tmp_path / "a.mp4").open("rb") as source, pytest.raises(ProvenanceError, match="does not lie in the film"):
        manifest_of(source.fileno(), HEAD)


@pytest.mark.parametrize("refusal", [None, OSError(38, "not implemented"), 0])
def test_a_part_of_a_file_is_copied_whether_the_system_does_it_or_not(
    refusal: OSError | int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> int:
        if isinstance(refusal, OSError):
            raise refusal
        return 0

    if refusal is not None:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    content = np.random.default_rng(1).bytes(3 << 20)
    (tmp_path / "a").write_bytes(content)
    with (tmp_path / "a").open("rb") as source, (tmp_path / "b").open("xb") as target:
        copy_range(source.fileno(), target.fileno(), 5, 2 << 20)
        with pytest.raises(EOFError):
            copy_range(source.fileno(), target.fileno(), 3 << 20, 1)
    assert (tmp_path / "b").read_bytes() == content[5 : 5 + (2 << 20)]


def test_parts_that_do_not_lie_in_the_film_are_refused() -> None:
    with pytest.raises(ValueError, match="do not lie in the film"):
        Film(size=100, head=24, index_start=20, index_size=50, media_boxes=1, most_room=1)
