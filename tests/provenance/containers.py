"""The surgery that attackers do on media files: boxes, chunks and segments, without any library."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


def boxes(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of the top boxes of an mp4."""
    start = 0
    while start + 8 <= len(content):
        size, kind = struct.unpack(">I4s", content[start : start + 8])
        size = size or len(content) - start
        yield kind, start, start + size
        start += size


def flip_in_box(content: bytes, wanted: bytes) -> bytes:
    """Change one byte in the middle of a box."""
    _, start, end = next(box for box in boxes(content) if box[0] == wanted)
    return flip(content, (start + end) // 2)


def flip(content: bytes, position: int) -> bytes:
    """Change one byte."""
    return content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :]


def graft_mp4(signed: bytes, target: bytes) -> bytes:
    """Put the credential box of one mp4 into another."""
    start, end = next((s, e) for kind, s, e in boxes(signed) if kind == b"uuid" and C2PA_UUID in signed[s : s + 24])
    _, _, after_ftyp = next(box for box in boxes(target) if box[0] == b"ftyp")
    return target[:after_ftyp] + signed[start:end] + target[after_ftyp:]


def graft_png(signed: bytes, target: bytes) -> bytes:
    """Put the caBX chunk of one png into another."""
    chunk = next(signed[start:end] for kind, start, end in _png_chunks(signed) if kind == b"caBX")
    return target[:33] + chunk + target[33:]


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    start = 8
    while start + 12 <= len(content):
        (size,) = struct.unpack(">I", content[start : start + 4])
        yield content[start + 4 : start + 8], start, start + size + 12
        start += size + 12


def graft_jpg(signed: bytes, target: bytes) -> bytes:
    """Put the APP11 segments of one jpg into another."""
    start, segments = 2, b""
    while signed[start] == 0xFF and signed[start + 1] != 0xDA:
        size = 2 + struct.unpack(">H", signed[start + 2 : start + 4])[0]
        if signed[start + 1] == 0xEB:
            segments += signed[start : start + size]
        start += size
    return target[:2] + segments + target[2:]


def graft_riff(signed: bytes, target: bytes) -> bytes:
    """Put the C2PA chunk of one wav or webp into another."""
    start, chunk = 12, b""
    while start + 8 <= len(signed):
        kind, size = struct.unpack("<4sI", signed[start : start + 8])
        end = start + 8 + size + size % 2
        if kind == b"C2PA":
            chunk = signed[start:end]
        start = end
    assert chunk
    grown = target + chunk
    return grown[:4] + struct.pack("<I", len(grown) - 8) + grown[8:]


GRAFTS = {"mp4": graft_mp4, "mov": graft_mp4, "png": graft_png, "jpg": graft_jpg, "wav": graft_riff, "webp": graft_riff}


def flip_content(content: bytes, ending: str) -> bytes:
    """Change what a viewer sees or hears, and nothing of the file's structure or credential."""
    if ending in ("mp4", "mov"):
        return flip_in_box(content, b"mdat")
    if ending == "png":
        return _brighten_png(content)
    if ending == "wav":
        return flip(content, content.index(b"data") + 2000)
    if ending == "webp":
        return flip(content, content.index(b"VP8 ") + 200)
    return flip(content, len(content) - 200)


def _brighten_png(content: bytes) -> bytes:
    """Change a pixel and keep every CRC right, as an editor that keeps unknown chunks would."""
    out = bytearray(content[:8])
    for kind, start, end in _png_chunks(content):
        body = content[start + 8 : end - 4]
        if kind == b"IDAT":
            pixels = bytearray(zlib.decompress(body))
            pixels[1000] ^= 0x40
            body = zlib.compress(bytes(pixels))
        out += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return bytes(out)


def remux(source: Path, destination: Path, *, sound_of: Path | None = None) -> None:
    """Copy packets into a new container, perhaps with the sound of another file."""
    with (
        av.open(str(source)) as video,
        av.open(str(sound_of or source)) as sound,
        av.open(str(destination), "w") as out,
    ):
        picture_in, sound_in = video.streams.video[0], sound.streams.audio[0]
        picture_out, sound_out = out.add_stream_from_template(picture_in), out.add_stream_from_template(sound_in)
        _copy(video, picture_in, out, picture_out)
        _copy(sound, sound_in, out, sound_out)


def _copy(source: Any, stream_in: Any, out: Any, stream_out: Any) -> None:
    for packet in source.demux(stream_in):
        if packet.dts is not None:
            packet.stream = stream_out
            out.mux(packet)


def swap_sound_samples(content: bytes) -> bytes:
    """Overwrite the coded sound inside mdat by other bytes of the same length; container and pictures stay."""
    changed = bytearray(content)
    with av.open(io.BytesIO(content), "r") as container:
        packets = [packet for packet in container.demux(container.streams.audio[0]) if packet.size]
        for packet in packets[3:]:
            position = packet.pos
            assert position is not None
            noise = np.random.default_rng(position).integers(0, 255, packet.size, np.uint8).tobytes()
            changed[position : position + packet.size] = noise
    return bytes(changed)
