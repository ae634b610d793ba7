"""What signing costs beside the C2PA library alone, and how much memory a large film takes.

`python -m benchmarks.signing --work DIR` writes `results/signing.json`; `--gigabyte` adds a film of 1 GB (3 GB of
disk).

Processor time and time by the clock; the ways take turns within one process, and the ratios are those of their turns.
"Directly" is what the library's own examples do: build, sign from one open file into another, and leave the disk to the
system; and, for the other ratio, read the result back. Memory is the peak of the command and everything it starts.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from PIL import Image

from benchmarks.tables import RESULTS, Result, Row, Table
from media.clip import Clip, Waveform
from media.video import write_clip
from provenance.claims import Claim, SourceType
from provenance.errors import ProvenanceError
from provenance.identity import SigningIdentity, development_identity
from provenance.reading import strict_settings
from provenance.signing import sign_file
from provenance.trust import TrustAnchors

KINDS: Final = (("mp4", 1), ("mp4", 10), ("mp4", 100), ("png", 4), ("jpg", 1), ("wav", 4))
"""Format and megabytes."""
TURNS: Final = {1: 61, 4: 41, 10: 21, 100: 7}
_MIMES: Final = {"mp4": "video/mp4", "png": "image/png", "jpg": "image/jpeg", "wav": "audio/wav"}
CLAIM: Final = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA)


def large_film(path: Path, megabytes: int) -> None:
    """Write a film that plays and has this size: one second of pictures, then bytes that no frame refers to."""
    random = np.random.default_rng(1)
    frames = random.integers(0, 255, (25, 12, 16, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    write_clip(Clip(frames, Fraction(25), Waveform(np.zeros((16_000, 1), np.float32), 16_000)), path)
    content = path.read_bytes()
    start = content.rindex(b"mdat") - 4
    if start + int.from_bytes(content[start : start + 4], "big") != len(content):
        raise ValueError("the pictures of a new film must come last, or they cannot be followed by more bytes")
    missing = megabytes * 10**6 - len(content)
    with path.open("r+b") as film:
        film.seek(start)
        film.write((len(content) - start + missing).to_bytes(4, "big"))
        film.seek(0, os.SEEK_END)
        for position in range(0, missing, 1 << 22):
            film.write(random.bytes(min(1 << 22, missing - position)))


def sample_of(kind: str, path: Path, megabytes: int) -> None:
    """Write a film, picture or sound of about this size."""
    random = np.random.default_rng(1)
    if kind == "mp4":
        large_film(path, megabytes)
    elif kind == "wav":
        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 2, 48_000, 0, "NONE", "not compressed"))
            sound.writeframes(random.bytes(megabytes * 10**6))
    else:
        # noise does not compress: 3 bytes a dot as PNG, about 1.8 as JPEG
        side = round((megabytes * 10**6 / (3 if kind == "png" else 1.8)) ** 0.5)
        Image.fromarray(random.integers(0, 255, (side, side, 3), np.uint8)).save(path, quality=90)


def sign_directly(library: Any, source: Path, target: Path, identity: SigningIdentity) -> None:
    """As the examples of the C2PA library sign: its defaults, one action; but no thumbnail, since we draw none."""
    made = {"action": "c2pa.created", "digitalSourceType": CLAIM.source_type.uri}
    assertions = [{"label": "c2pa.actions.v2", "data": {"actions": [made]}}]
    manifest = {"claim_generator_info": [{"name": "direct"}], "title": source.name, "assertions": assertions}
    facts = library.C2paSignerInfo(identity.algorithm.encode(), identity.chain_pem.encode(), identity.key_pem, None)
    with (
        library.Context.from_dict({"builder": {"thumbnail": {"enabled": False}}}) as context,
        library.Builder(json.dumps(manifest), context) as builder,
        source.open("rb") as reading,
        target.open("w+b") as writing,
    ):
        builder.sign(library.Signer.from_info(facts), _MIMES[source.suffix[1:]], reading, writing)


def read_directly(library: Any, path: Path, trust: TrustAnchors) -> None:
    """As the examples of the C2PA library read, with our trust list."""
    with (
        library.Context.from_dict(strict_settings(trust)) as context,
        path.open("rb") as stream,
        library.Reader(_MIMES[path.suffix[1:]], stream, context=context) as reader,
    ):
        state = json.loads(reader.json())["validation_state"]
    if state != "Trusted":
        raise ProvenanceError(f"{path} reads as {state} although it was signed just now")


def costs(folder: Path, kind: str, megabytes: int, turns: int) -> Row:
    """Milliseconds of each way for a file of this size, by processor and clock, and our ratios to the others."""
    # The library has one door in this project; this is the one place that goes around it, to compare.
    library = importlib.import_module("c2pa")
    identity, trust = development_identity(notify=lambda line: None), TrustAnchors.default()
    source, direct, ours = (folder / f"{name}.{kind}" for name in NAMES)
    sample_of(kind, source, megabytes)
    ways: dict[str, Callable[[], object]] = {
        "sign": lambda: sign_directly(library, source, direct, identity),
        "read": lambda: read_directly(library, direct, trust),
        "ours": lambda: sign_file(source, ours, CLAIM, identity=identity, trust=trust),
    }
    for way in ways.values():
        way()
    row: dict[str, object] = {"format": kind, "MB": megabytes, "turns": turns}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            start, seen = time.process_time(), time.perf_counter()
            way()
            taken[name].append((1000 * (time.process_time() - start), 1000 * (time.perf_counter() - seen)))
    for position, measure in enumerate(("processor", "clock")):
        sign, read, ours_ms = ([spent[position] for spent in taken[name]] for name in ways)
        pairs = list(zip(ours_ms, sign, read, strict=True))
        row |= {
            f"{measure}: directly, ms": statistics.median(sign),
            f"{measure}: directly and read back, ms": statistics.median(s + r for _, s, r in pairs),
            f"{measure}: sign_file, ms": statistics.median(ours_ms),
            f"{measure}: to directly": statistics.median(o / s for o, s, _ in pairs),
            f"{measure}: to directly and read back": statistics.median(o / (s + r) for o, s, r in pairs),
        }
    return row


NAMES: Final = ("source", "direct", "ours")


_WATCHER: Final = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, used.ru_maxrss * 1024, used.ru_utime + used.ru_stime)
"""


def peak_of(command: list[str]) -> tuple[float, float]:
    """Peak memory (MB) and processor time (s) of a command and all that it starts.

    Raises:
        ProvenanceError: when it fails.
    """
    # Between two programs stands a small one: a new process begins with the peak of the one it was forked from.
    watched = [sys.executable, "-S", "-c", _WATCHER, *command]
    code, peak, seconds = subprocess.run(watched, capture_output=True, text=True, check=True).stdout.split()
    if int(code):
        raise ProvenanceError(f"{' '.join(command[2:])} ended with {code}")
    return float(peak) / 1e6, float(seconds)


def memory(folder: Path, megabytes: int) -> list[Row]:
    """Peak memory of the commands that sign and verify a film of this size."""
    film, signed = folder / "large.mp4", folder / "large-signed.mp4"
    large_film(film, megabytes)
    run = [sys.executable, "-m", "provenance"]
    kind = ["--source-type", CLAIM.source_type.value, "--force", "--no-store"]
    rows: list[Row] = []
    try:
        for name, words in (
            ("provenance sign", ["sign", str(film), "-o", str(signed), *kind]),
            ("provenance verify", ["verify", str(signed)]),
        ):
            megabytes_taken, seconds = peak_of([*run, *words])
            rows.append({"command": name, "film, MB": megabytes, "peak, MB": megabytes_taken, "processor, s": seconds})
    finally:
        film.unlink(missing_ok=True)
        signed.unlink(missing_ok=True)
    return rows


def main(
    work: Annotated[Path, typer.Option(help="an empty folder for films; emptied again")],
    gigabyte: Annotated[bool, typer.Option(help="measure the film of 1 GB too")] = False,
    results: Annotated[Path, typer.Option(help="folder of the JSON file")] = RESULTS,
) -> None:
    """Measure, and write `signing.json`."""
    work.mkdir(parents=True, exist_ok=True)
    try:
        rows = [costs(work, kind, size, TURNS[size]) for kind, size in KINDS]
        peaks = [row for size in (100, *((1000,) if gigabyte else ())) for row in memory(work, size)]
    except ProvenanceError as problem:
        typer.echo(f"signing: {problem}", err=True)
        raise typer.Exit(1) from None
    finally:
        for name in NAMES:
            for kind in _MIMES:
                (work / f"{name}.{kind}").unlink(missing_ok=True)
    notes = (
        "Medians over turns that follow one another in one process; the ratios are medians of each turn's. The library "
        "draws no thumbnail on either side; after signing it checks the manifest, not the content, as is its default.",
        "sign_file also looks whether the source is signed already, waits until the file is on the disk, reads the "
        "manifest back and judges it, and takes the SHA-256 of the whole file. Films from 128 MiB on, pictures and "
        "sound it reads back in full.",
        "Films from 128 MiB on are hashed in pieces of 8 MiB, so that neither side holds them in memory.",
    )
    tables = (Table("cost of signing", tuple(rows)), Table("memory", tuple(peaks)))
    Result("signing", "python -m benchmarks.signing --work DIR --gigabyte", tables, notes).save(results)


if __name__ == "__main__":
    typer.run(main)
