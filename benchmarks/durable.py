"""Durable credentials after platforms: `python -m benchmarks.durable --clips TABLE_OR_DIR --out DIR`.

Every clip is marked, fingerprinted and written at CRF 18 as `forge` does, then damaged in every way of `COPIES`, always
without metadata. For each copy: is its credential found among those of all clips and a thousand others, by watermark,
by fingerprint, by either; and, with its own credential withdrawn from the store, is another one found in its place.
One JSON line a clip in DIR; an interrupted run goes on, and `--only-kept` makes the tables of what is there already.
Figures go to `results/durable.json`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import sqrt
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import numpy as np
import typer

from benchmarks.tables import RESULTS, Result, Row, Table
from media.clip import Clip, MediaError, Waveform
from media.perturb import perturb
from media.video import Encoding, probe, read_waveform, recompressed, stream_frames
from provenance.files import write_whole
from provenance.fingerprint import Fingerprint, PictureFingerprinter, fingerprint_sound
from provenance.likeness import compare
from provenance.likeness import nearest as nearest_prints
from provenance.watermark import Reading, Watermarker, listen

LADDER_PIXELS: Final = 256
"""Longer side of the clips in the ladder: the hardest case, since small pictures have the least room for a mark."""
WHOLE_PIXELS: Final = 512
FRAMES: Final = 50
DECOYS: Final = 1000
"""Identifiers in the store beside those of the clips."""
PRESET: Final = "medium"


@dataclass(frozen=True)
class Copy:
    """One way in which a copy came about."""

    what: str
    damage: Callable[[Clip], Clip]
    pixels: int = LADDER_PIXELS


def encoded(clip: Clip, crf: int) -> Clip:
    """The clip after H.264 and AAC."""
    options = {"crf": str(crf), "preset": PRESET}
    return recompressed(clip, Encoding(options=options))


def scaled(clip: Clip, shorter_side: int) -> Clip:
    """The clip with this many lines, sides even; smaller ones are left as they are, as services do."""
    side = min(clip.height, clip.width)
    if side <= shorter_side:
        return clip
    width, height = (2 * round(length * shorter_side / side / 2) for length in (clip.width, clip.height))
    frames = [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in clip.frames]
    return Clip(np.stack(frames).astype(np.uint8), clip.fps, clip.sound)


def corner(clip: Clip) -> Clip:
    """Nine tenths of each side, from the upper left."""
    height, width = (int(side * 0.9) // 2 * 2 for side in (clip.height, clip.width))
    return Clip(clip.frames[:, :height, :width].copy(), clip.fps, clip.sound)


def from_a_screen(clip: Clip) -> Clip:
    """As a screen recorder gives it: another size, soft, other contrast and tone, other rate, encoded again."""
    side = min(clip.height, clip.width)
    larger = [cv2.resize(image, None, fx=1.17, fy=1.17, interpolation=cv2.INTER_LINEAR) for image in clip.frames]
    even = np.stack(larger)[:, : int(side * 1.17) // 2 * 2, : int(side * 1.17) // 2 * 2].astype(np.uint8)
    soft = perturb(Clip(even, clip.fps, clip.sound), "blur", 0.8)
    toned = perturb(perturb(soft, "gamma", 1.15), "contrast", 0.92)
    return encoded(perturb(toned, "fps", 30), 26)


COPIES: Final[Mapping[str, Copy]] = {
    "crf 18": Copy("H.264 CRF 18", lambda clip: encoded(clip, 18)),
    "crf 23": Copy("H.264 CRF 23", lambda clip: encoded(clip, 23)),
    "crf 28": Copy("H.264 CRF 28", lambda clip: encoded(clip, 28)),
    "crf 33": Copy("H.264 CRF 33", lambda clip: encoded(clip, 33)),
    "crf 35": Copy("H.264 CRF 35", lambda clip: encoded(clip, 35)),
    "half size": Copy("half the lines, then CRF 23", lambda clip: encoded(scaled(clip, 128), 23)),
    "crop": Copy("middle nine tenths, then CRF 23", lambda clip: encoded(perturb(clip, "crop", 0.9), 23)),
    "corner crop": Copy("nine tenths from a corner, then CRF 23", lambda clip: encoded(corner(clip), 23)),
    "15 fps": Copy("15 frames a second, then CRF 23", lambda clip: encoded(perturb(clip, "fps", 15), 23)),
    "screen": Copy("blur, 1.17 x, gamma, contrast, 30 fps, CRF 26", from_a_screen),
    "sound": Copy("sound as AAC at 32 kbit/s, without the pictures", lambda clip: perturb(clip, "sound_aac", 32)),
    "crf 28 360p": Copy("360 lines, then CRF 28", lambda clip: encoded(scaled(clip, 360), 28), WHOLE_PIXELS),
    "crf 33 360p": Copy("360 lines, then CRF 33", lambda clip: encoded(scaled(clip, 360), 33), WHOLE_PIXELS),
}
_SOUND_ONLY: Final = ("sound",)
"""Copies that are judged by their sound alone."""
_AT_ANY_SIZE: Final[Mapping[str, str]] = {"crf 28 360p": "crf 28", "crf 33 360p": "crf 33"}
"""What a copy of 360 lines is for a clip that has no more anyway."""


def identifier_of(name: str) -> int:
    """A number of 48 bits for a clip or a decoy."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")


def fingerprinted(clip: Clip) -> Fingerprint:
    """Prints of pictures and sound."""
    pictures = PictureFingerprinter()
    for index, image in enumerate(clip.frames):
        pictures.add(float(index / clip.fps), image)
    look, motion = pictures.prints()
    if clip.sound is None:
        return Fingerprint(look, motion)
    return Fingerprint(look, motion, fingerprint_sound(clip.sound.samples, clip.sound.sample_rate_hz))


def carrier(path: Path, pixels: int) -> Clip:
    """The first two seconds of a clip, the longer side at most so many pixels, sides even."""
    facts = probe(path)
    coming = stream_frames(path, max_side=pixels, fps=facts.fps if facts.variable_frame_rate else None)
    frames = np.stack([one.image for one in islice(coming, FRAMES)])
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
    sound = read_waveform(path) if facts.has_sound else None
    if sound is not None:
        heard = round(float(len(frames) / facts.fps) * sound.sample_rate_hz)
        sound = Waveform(sound.samples[:heard].copy(), sound.sample_rate_hz)
    return Clip(frames[:, :height, :width].copy(), facts.fps, sound)


def structure(first: np.ndarray, second: np.ndarray) -> float:
    """SSIM of luma (Wang et al. 2004), mean over the picture."""
    one, two = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64) for image in (first, second))

    def smooth(values: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5))

    mean, other = smooth(one), smooth(two)
    spread, other_spread = smooth(one * one) - mean**2, smooth(two * two) - other**2
    together = smooth(one * two) - mean * other
    above = (2 * mean * other + 6.5025) * (2 * together + 58.5225)
    return float((above / ((mean**2 + other**2 + 6.5025) * (spread + other_spread + 58.5225))).mean())


@dataclass(frozen=True)
class Subject:
    """One clip of the benchmark."""

    name: str
    path: Path
    group: str
    """Recording it was cut from: parts of one recording may rightly look alike."""
    person: str
    """Who is seen, or which portrait: where takes of one face look most alike."""


def subjects(clips: Path) -> list[Subject]:
    """Clips of a table with the columns id, file and group, or all mp4 files of a folder.

    Raises:
        MediaError: when there are none.
    """
    table = clips / "clips.csv" if clips.is_dir() and (clips / "clips.csv").is_file() else clips
    if table.is_dir():
        found = [Subject(path.stem, path, path.stem, path.stem) for path in sorted(table.glob("*.mp4"))]
    else:
        try:
            rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
            found = [
                Subject(
                    row["id"],
                    table.parent / row["file"],
                    row.get("group") or row["id"],
                    row.get("person") or row.get("group") or row["id"],
                )
                for row in rows
            ]
        except (OSError, KeyError, UnicodeDecodeError) as error:
            raise MediaError(f"{clips}: not a table of clips with the columns id and file ({error})") from error
    if not found:
        raise MediaError(f"{clips}: no clips; give a folder of mp4 files or a table")
    return found


def in_store(everything: Sequence[Subject]) -> list[int]:
    """Identifiers of all clips, and decoys."""
    return [identifier_of(one.name) for one in everything] + [identifier_of(f"decoy {n}") for n in range(DECOYS)]


def judged_by_watermark(reading: Reading | None, own: int, known: Sequence[int]) -> dict[str, Any]:
    """Whether the copy leads to its own identifier, and what it leads to when that is withdrawn."""
    if reading is None:
        return {"right": False, "blind": False, "wrong": False, "wrong_withdrawn": False}
    heard, blind = reading.find(known), reading.find()
    withdrawn = reading.find([one for one in known if one != own])
    return {
        "right": heard is not None and heard.identifier == own,
        "blind": blind is not None and blind.identifier == own,
        "wrong": heard is not None and heard.identifier != own,
        "wrong_withdrawn": withdrawn is not None and withdrawn.identifier != own,
        "false_chance": heard.false_chance if heard is not None else None,
    }


def measured(subject: Subject, known: Sequence[int]) -> dict[str, Any]:
    """Everything about one clip that does not need the others; prints as blocks, to be compared later."""
    own = identifier_of(subject.name)
    facts: dict[str, Any] = {"name": subject.name, "copies": {}, "cost": {}}
    for pixels in (LADDER_PIXELS, WHOLE_PIXELS):
        clip = carrier(subject.path, pixels)
        if max(clip.height, clip.width) <= LADDER_PIXELS < pixels:
            facts["copies"].update({name: facts["copies"][same] for name, same in _AT_ANY_SIZE.items()})
            break
        start = time.process_time()
        marker = Watermarker(own)
        marked = Clip(np.stack([marker.mark(image) for image in clip.frames]), clip.fps, clip.sound)
        middle = time.process_time()
        prints = fingerprinted(marked)
        end = time.process_time()
        error = float(np.mean((marked.frames.astype(np.float32) - clip.frames) ** 2))
        facts["cost"][str(pixels)] = {
            "side": min(clip.height, clip.width),
            "psnr": 10 * float(np.log10(255**2 / max(error, 1e-9))),
            "ssim": float(np.mean([structure(clip.frames[i], marked.frames[i]) for i in range(0, clip.length, 12)])),
            "mark_ms": (middle - start) * 1000 / clip.length,
            "print_ms": (end - middle) * 1000 / clip.length,
        }
        if pixels == LADDER_PIXELS:
            facts["original"] = _stored(prints)
            facts["unmarked"] = judged_by_watermark(listen(clip.frames), own, known)
        delivered = encoded(marked, 18)
        for name, kind in COPIES.items():
            if kind.pixels == pixels:
                facts["copies"][name] = _copy_facts(name, kind.damage(delivered), own, known)
    return facts


def _copy_facts(name: str, copy: Clip, own: int, known: Sequence[int]) -> dict[str, Any]:
    start = time.process_time()
    reading = None if name in _SOUND_ONLY else listen(copy.frames)
    listened = time.process_time()
    if reading is not None:
        reading.find(known)
    found = time.process_time()
    facts = {"watermark": judged_by_watermark(reading, own, known)} if reading is not None else {}
    return {
        **facts,
        "prints": _stored(fingerprinted(copy)),
        "listen_ms": (listened - start) * 1000 / copy.length,
        "find_ms": (found - listened) * 1000,
    }


def _stored(prints: Fingerprint) -> dict[str, Any]:
    return {"pictures": prints.picture_blocks(), "sound": prints.sound_blocks()}


def _prints(stored: Mapping[str, Any]) -> Fingerprint:
    return Fingerprint.from_blocks(stored["pictures"], stored["sound"])


def judge_prints(records: Sequence[dict[str, Any]], about: Mapping[str, Subject]) -> None:
    """Compare the prints of every copy with the store, and once more without its own; adds `fingerprint` to each."""
    originals = {one["name"]: _prints(one["original"]) for one in records}
    limit = len(originals) + DECOYS
    for record in records:
        name = record["name"]
        others = {other: prints for other, prints in originals.items() if other != name}
        for kind, facts in record["copies"].items():
            copy, own, store = _prints(facts["prints"]), originals[name], others
            if kind in _SOUND_ONLY:
                copy, own, store = _only_sound(copy), _only_sound(own), {n: _only_sound(p) for n, p in others.items()}
            start = time.process_time()
            rival, likeness = nearest_prints(copy, store)
            mine = compare(copy, own)
            took = (time.process_time() - start) * 1000
            rival_passes = rival is not None and likeness is not None and likeness.passes(limit)
            beaten = rival_passes and likeness is not None and likeness.false_chance < mine.false_chance
            facts["fingerprint"] = {
                "right": mine.passes(limit) and not beaten,
                "wrong": beaten,
                "kinship": kinship(about[name], about[str(rival)]) if rival_passes else None,
                "rival": rival if rival_passes else None,
                "compare_ms": took,
                "likeness": [mine.look, mine.motion, mine.sound],
            }


STRANGER, SAME_PERSON, SAME_RECORDING = "another person", "same person", "same recording"


def kinship(first: Subject, second: Subject) -> str:
    """What two clips have to do with one another, by the table of clips."""
    if first.group == second.group:
        return SAME_RECORDING
    return SAME_PERSON if first.person == second.person else STRANGER


def _only_sound(prints: Fingerprint) -> Fingerprint:
    return Fingerprint(sound_AK=prints.sound_AK)


def interval(hits: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if not trials:
        return 0.0, 1.0
    z, share = 1.959964, hits / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def share(hits: Sequence[bool]) -> str:
    """A share in percent with its interval."""
    if not hits:
        return "–"
    low, high = interval(sum(hits), len(hits))
    return f"{100 * sum(hits) / len(hits):.1f} ({100 * low:.1f} to {100 * high:.1f})"


def recovery_row(name: str, records: Sequence[Mapping[str, Any]]) -> Row:
    """Shares of clips whose credential was found after one kind of damage."""
    copies = [one["copies"][name] for one in records if name in one["copies"]]
    marks = [one["watermark"] for one in copies if "watermark" in one]
    # silence has no print of its own: a clip without sound cannot be found by it
    prints = [
        one["fingerprint"] for one in copies if name not in _SOUND_ONLY or one["fingerprint"]["likeness"][2] is not None
    ]
    pairs = [(one["watermark"], one["fingerprint"]) for one in copies if "watermark" in one]
    either = [mark["right"] or (printed["right"] and not mark["wrong"]) for mark, printed in pairs]
    wrong = [mark["wrong_withdrawn"] or printed["kinship"] == STRANGER for mark, printed in pairs]
    if not pairs:
        wrong = [one["kinship"] == STRANGER and one["likeness"][2] is not None for one in prints]
    return {
        "copy": COPIES[name].what,
        "clips": len(pairs) or len(prints),
        "found by either, %": share(either),
        "watermark, %": share([one["right"] for one in marks]),
        "watermark, store unknown, %": share([one["blind"] for one in marks]),
        "fingerprint, %": share([one["right"] for one in prints]),
        "that of another person found, own withdrawn, %": share(wrong),
    }


def cost_rows(records: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """What the mark costs the eye and the processor."""
    for pixels in (LADDER_PIXELS, WHOLE_PIXELS):
        costs = [one["cost"][str(pixels)] for one in records if str(pixels) in one["cost"]]
        if not costs:
            continue
        names = ("psnr", "ssim", "mark_ms", "print_ms")
        column = {name: np.array([one[name] for one in costs]) for name in names}
        yield {
            "shorter side": f"{min(one['side'] for one in costs)} to {max(one['side'] for one in costs)} px",
            "clips": len(costs),
            "PSNR, dB": f"{column['psnr'].mean():.1f} (lowest {column['psnr'].min():.1f})",
            "SSIM": f"{column['ssim'].mean():.4f} (lowest {column['ssim'].min():.4f})",
            "marking, ms a frame": float(np.median(column["mark_ms"])),
            "fingerprinting, ms a frame": float(np.median(column["print_ms"])),
            "both, s for a clip of 5 s": 0.125 * float(np.median(column["mark_ms"] + column["print_ms"])),
        }


def false_rows(records: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """How often something was found that is not there."""
    every = [(name, copy) for one in records for name, copy in one["copies"].items()]
    marks = [one["watermark"] for _, one in every if "watermark" in one] + [one["unmarked"] for one in records]
    prints = [one["fingerprint"] for name, one in every if name not in _SOUND_ONLY]
    sounds = [one["fingerprint"] for name, one in every if name in _SOUND_ONLY]
    ways = (
        ("watermark, own identifier withdrawn or never marked", [one["wrong_withdrawn"] for one in marks]),
        *(
            (f"fingerprint, own entry withdrawn: that of {kin}", [one["kinship"] == kin for one in prints])
            for kin in (STRANGER, SAME_PERSON, SAME_RECORDING)
        ),
        (
            "sound alone, own entry withdrawn: that of another clip, which speaks with the same sound or does not",
            [one["rival"] is not None for one in sounds if one["likeness"][2] is not None],
        ),
        ("wrong credential although its own was there", [one["wrong"] for one in [*marks, *prints, *sounds]]),
    )
    for way, hits in ways:
        yield {"way": way, "trials": len(hits), "false": sum(hits), "rate, %": share(hits)}


def rivals(records: Sequence[Mapping[str, Any]]) -> str:
    """Which clips were taken for which others, and in which copies, for whoever wants to look at them."""
    pairs: dict[str, set[str]] = {}
    for one in records:
        for kind, copy in one["copies"].items():
            if copy["fingerprint"]["rival"] is not None:
                pair = "/".join(sorted((str(one["name"]), str(copy["fingerprint"]["rival"]))))
                pairs.setdefault(pair, set()).add(kind)
    told = [
        f"{pair} ({', '.join(sorted(kinds)) if len(kinds) < 4 else f'{len(kinds)} kinds of copies'})"
        for pair, kinds in sorted(pairs.items())
    ]
    return "; ".join(told) or "none"


def result_of(records: Sequence[dict[str, Any]], about: Mapping[str, Subject], command: str) -> Result:
    """All figures as tables."""
    judge_prints(records, about)
    every = [copy for one in records for copy in one["copies"].values()]
    milliseconds = {
        name: float(np.median([one[name] for one in every if one.get(name) is not None]))
        for name in ("listen_ms", "find_ms")
    }
    comparing = float(np.median([one["fingerprint"]["compare_ms"] for one in every]))
    notes = (
        f"{len(records)} of {len(about)} clips, the first {FRAMES} frames of each; store of marks: the identifiers of "
        f"all clips and {DECOYS} others; store of prints: the clips measured. Marked and written at CRF 18 before each "
        f"copy; copies carry no metadata. libx264, preset {PRESET}.",
        "Rows of 360 lines start from up to 512 pixels; smaller clips keep their size, as with services. All other "
        "rows start from at most 256 pixels.",
        "Share in percent with its 95% interval (Wilson). The row of sound alone has only the clips with sound.",
        f"Clips whose prints were taken for those of another when their own entry was withdrawn: {rivals(records)}.",
        f"Processor time of one core: reading the mark {milliseconds['listen_ms']:.1f} ms a frame and "
        f"{milliseconds['find_ms']:.0f} ms a file; comparing prints with the store {comparing:.0f} ms a file.",
    )
    tables = (
        Table("found again", tuple(recovery_row(name, records) for name in COPIES)),
        Table("found although it is not there", tuple(false_rows(records))),
        Table("cost of the mark", tuple(cost_rows(records))),
    )
    return Result("durable", command, tables, notes)


def main(
    clips: Annotated[Path, typer.Option(help="a table with the columns id, file and group, or a folder of mp4 files")],
    out: Annotated[Path, typer.Option(help="folder for one JSON line a clip; an interrupted run goes on from it")],
    limit: Annotated[int | None, typer.Option(help="only so many clips, spread over the table")] = None,
    only_kept: Annotated[bool, typer.Option(help="measure nothing; tables of the clips that are in OUT")] = False,
    results: Annotated[Path, typer.Option(help="folder of the JSON file")] = RESULTS,
) -> None:
    """Measure how often a credential is found again, and save the tables."""
    cv2.setNumThreads(1)
    try:
        everything = subjects(clips)
        known = in_store(everything)
        about = {one.name: one for one in everything}
        if only_kept:
            everything = [one for one in everything if (out / f"{one.name}.json").is_file()]
        if limit is not None and limit < len(everything):
            everything = [everything[int(n * len(everything) / limit)] for n in range(limit)]
        out.mkdir(parents=True, exist_ok=True)
        records = []
        for number, subject in enumerate(everything, 1):
            kept = out / f"{subject.name}.json"
            if not kept.is_file():
                write_whole(kept, json.dumps(measured(subject, known)).encode())
                typer.echo(f"{number} of {len(everything)}: {subject.name}", err=True)
            records.append(json.loads(kept.read_text(encoding="utf-8")))
        if not records:
            raise MediaError(f"{out}: no clips were measured yet; leave out --only-kept")
        result_of(records, about, "python -m benchmarks.durable --clips CLIPS --out DIR").save(results)
    except (MediaError, OSError, ValueError) as problem:
        typer.echo(f"durable: {problem}", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
