"""What the fuzz runs throw at us: small valid files of every format, and how they are damaged.

    seeds = media_seeds(folder)
    content = damaged(random.Random("media 7"), seeds)

A case is made by its number alone, from the same seeds, so that it can be made again.
"""

from __future__ import annotations

import random
import struct
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image

from media.clip import Clip, UInt8Array, Waveform
from media.video import write_clip
from provenance.claims import Claim, SourceType
from provenance.identity import SigningIdentity, create_identity
from provenance.signing import sign_file

SIDE: Final = 64
MOST_BYTES: Final = 1 << 20
"""Of one case; files grow by splicing."""
MAGIC: Final = tuple(
    struct.pack(form, value & mask)
    for form, mask in ((">I", 0xFFFFFFFF), ("<I", 0xFFFFFFFF), (">H", 0xFFFF), (">Q", (1 << 64) - 1))
    for value in (0, 1, 7, 8, 15, 16, 255, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, -1, 1 << 40)
)
"""Sizes and counts at which parsers have broken: nothing, less than a header, the edges of signs and of words."""
LENGTHS: Final = (
    *(b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"stsz", b"stco", b"stts", b"ctts", b"uuid"),
    *(b"jumb", b"jumd", b"cbor", b"json", b"bfdb", b"bidb", b"free", b"mdat", b"ftyp", b"avcC", b"esds", b"elst"),
    *(b"IHDR", b"IDAT", b"caBX", b"PLTE", b"RIFF", b"WEBP", b"VP8X", b"C2PA", b"LIST", b"hdrl", b"strf", b"idx1"),
)
"""Names of boxes and chunks; their lengths stand before or behind them."""


@dataclass(frozen=True)
class Seed:
    """A small valid file."""

    name: str
    content: bytes


def manifest_seeds(folder: Path) -> list[Seed]:
    """Signed files of every format that is signed, each with an ingredient, and a manifest that was kept apart."""
    identity = create_identity(folder / "identity")
    kept: list[bytes] = []
    for plain in (*_pictures(folder, ("png", "jpg", "webp")), _mp4(folder), _mov(folder), _wav(folder)):
        signed = folder / f"signed-{plain.name}"
        claim = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA)
        sign_file(plain, signed, claim, identity=identity, keep=lambda manifest, credential: kept.append(manifest))
        if plain.suffix == ".png":
            # a chain of two: the parser follows what it is told
            _sign_again(signed, folder / "twice.png", identity)
    found = [Seed(path.name, path.read_bytes()) for path in sorted(folder.glob("signed-*"))]
    return [*found, Seed("twice.png", (folder / "twice.png").read_bytes()), Seed("kept.c2pa", kept[0])]


def media_seeds(folder: Path) -> list[Seed]:
    """A small file of each kind that is read: films in several containers, pictures, sound."""
    made = [
        *_pictures(folder, ("png", "jpg", "webp", "bmp", "tiff", "gif", "avif", "ppm")),
        _mp4(folder),
        _mov(folder),
        _wav(folder),
        *_films(folder),
    ]
    return [Seed(path.name, path.read_bytes()) for path in made]


def damaged(chance: random.Random, seeds: Sequence[Seed]) -> tuple[str, bytes]:
    """(name of the seed, a spoilt copy of it): one to four blows."""
    seed = chance.choice(seeds)
    content = bytearray(seed.content)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        chance.choice(_BLOWS)(chance, content, seeds)
    return seed.name, bytes(content[:MOST_BYTES])


def _flip_bits(chance: random.Random, content: bytearray, seeds: Sequence[Seed]) -> None:
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        if content:
            content[_place(chance, content)] ^= 1 << chance.randrange(8)


def _set_number(chance: random.Random, content: bytearray, seeds: Sequence[Seed]) -> None:
    number = chance.choice(MAGIC)
    at = _place(chance, content) & ~3 if chance.random() < 0.5 else _place(chance, content)
    content[at : at + len(number)] = number


def _set_length(chance: random.Random, content: bytearray, seeds: Sequence[Seed]) -> None:
    """The length of a box or chunk: before its name, or behind it in RIFF."""
    places = list(_names_in(content))
    if not places:
        _set_number(chance, content, seeds)
        return
    at = chance.choice(places)
    before = chance.random() < 0.75
    form = ">I" if before else "<I"
    start = at - 4 if before else at + 4
    if start < 0 or start + 4 > len(content):
        return
    (old,) = struct.unpack_from(form, content, start)
    new = chance.choice((0, 1, 4, 7, 8, old - 1, old + 1, old * 2, old // 2, 0x7FFFFFFF, 0xFFFFFFFF, len(content)))
    struct.pack_into(form, content, start, new & 0xFFFFFFFF)


def _cut(chance: random.Random, content: bytearray, seeds: Sequence[Seed]) -> None:
    del content[_place(chance, content) :]


def _drop(chance: random.Random, content: bytearray, seeds: Sequence[Seed]) -> None:
    at = _place(chance, content)
    del content[at : at + chance.choice((1, 4, 16, 256, 4096))]


def _double(chance: random.Random, content: bytearray, seeds: Sequence[Seed]) -> None:
    """A piece once or many times more: nested and repeated boxes."""
    at = _place(chance, content)
    piece = bytes(content[at : at + chance.choice((1, 8, 64, 1024, 8192))])
    content[at:at] = piece * chance.choice((1, 1, 2, 30))


def _swap_name(chance: random.Random, content: bytearray, seeds: Sequence[Seed]) -> None:
    """One box named as another."""
    places = list(_names_in(content))
    if places:
        at = chance.choice(places)
        content[at : at + 4] = chance.choice(LENGTHS)


def _noise(chance: random.Random, content: bytearray, seeds: Sequence[Seed]) -> None:
    at, length = _place(chance, content), chance.choice((1, 4, 32, 512))
    content[at : at + length] = chance.randbytes(length)


def _splice(chance: random.Random, content: bytearray, seeds: Sequence[Seed]) -> None:
    """A piece of another file."""
    other = chance.choice(seeds).content or b"\0"
    start = chance.randrange(len(other))
    at = _place(chance, content)
    content[at : at + chance.choice((0, 64, 4096))] = other[start : start + chance.choice((16, 512, 8192))]


_BLOWS: Final[tuple[Callable[[random.Random, bytearray, Sequence[Seed]], None], ...]] = (
    *(_flip_bits, _flip_bits, _set_number, _set_number, _set_length, _set_length, _cut),
    *(_drop, _double, _swap_name, _noise, _splice),
)


def _place(chance: random.Random, content: bytearray) -> int:
    """Where a blow falls: half of them beside a name, a quarter in the first kilobyte, the rest anywhere."""
    if not content:
        return 0
    way = chance.random()
    if way < 0.5 and (places := list(_names_in(content))):
        return min(len(content) - 1, max(0, chance.choice(places) + chance.randrange(-8, 64)))
    if way < 0.75:
        return chance.randrange(min(1024, len(content)))
    return chance.randrange(len(content))


def _names_in(content: bytearray) -> Iterator[int]:
    """Where names of boxes and chunks stand, at most a few of each."""
    for name in LENGTHS:
        at = -1
        for _ in range(6):
            at = content.find(name, at + 1)
            if at < 0:
                break
            yield at


def _still(seed: int = 1) -> UInt8Array:
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return np.asarray(coarse.repeat(SIDE // 8, axis=0).repeat(SIDE // 8, axis=1), np.uint8)


def _pictures(folder: Path, endings: Sequence[str]) -> Iterator[Path]:
    still = Image.fromarray(_still())
    for ending in endings:
        path = folder / f"still.{ending}"
        if ending == "gif":
            still.save(path, save_all=True, append_images=[Image.fromarray(_still(2))])
        else:
            still.save(path)
        yield path


def _mp4(folder: Path) -> Path:
    path = folder / "film.mp4"
    if not path.exists():
        frames = np.stack([np.roll(_still(), shift, axis=1) for shift in range(10)])
        tone = np.sin(np.arange(6400) * 0.2).astype(np.float32)[:, None]
        write_clip(Clip(frames, Fraction(25), Waveform(tone * np.float32(0.4), 16_000)), path)
    return path


def _mov(folder: Path) -> Path:
    """The same film under the brand of QuickTime."""
    content = bytearray(_mp4(folder).read_bytes())
    content[8:12] = b"qt  "
    path = folder / "film.mov"
    path.write_bytes(content)
    return path


def _wav(folder: Path) -> Path:
    path = folder / "sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        file.writeframes(np.random.default_rng(3).integers(-9000, 9000, 2000, np.int16).tobytes())
    return path


def _films(folder: Path) -> Iterator[Path]:
    """Other containers and codecs, of those that OpenCV's build can write."""
    frames = [np.roll(_still(), shift, axis=1) for shift in range(8)]
    for name, codec in (("film.avi", "MJPG"), ("film.mkv", "mp4v"), ("film.webm", "VP80"), ("film.flv", "FLV1")):
        path = folder / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10.0, (SIDE, SIDE))
        for frame in frames:
            writer.write(frame)
        writer.release()
        if path.is_file() and path.stat().st_size > 200:
            yield path


def _sign_again(source: Path, destination: Path, identity: SigningIdentity) -> None:
    claim = Claim(source_type=SourceType.COMPOSITE_SYNTHETIC, action="edited")
    sign_file(source, destination, claim, identity=identity)
