"""Judge face renderers by their frames, side by side.

    python -m benchmarks.generation face --method both --real clips.csv --studio FOOTAGE_DIR --portraits DIR --out DIR

Parts (each only when its material is given; everything is resumable, a frame drawn once is not drawn again):
    1. held-out real clips, each driving its own first good frame        PSNR SSIM APD AED NME CSIM sharpness, by yaw
    2. held-out rendered people, the same
    3. somebody else's motion: one on 8 portraits, 8 on one portrait     CSIM, APD and AED against what was asked
    4. swaps of identity, pose and expression                            what each swap changes, and what it must not
    5. what a latent gives away: identity and pose from z_dyn            accuracy beside chance
    6. models                                                         given by name, or listed as not trained
Rows beside the methods: `truth, JPEG 90` (the true frames stored once more: what the judges' own noise costs) and
`static` (the portrait itself). Intervals draw whole people. The landmarker drives and checks every method alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.acceptance import acceptance_rows
from benchmarks.driving import Driver, Reader, driver_named
from benchmarks.face_judging import (
    CEILING,
    MOTION_FIGURES,
    PIXEL_FIGURES,
    Bench,
    Judges,
    Row,
    Shown,
    against,
    column,
    judged,
    method_table,
    open_judge,
    people_of,
    save_sheet,
    with_interval,
    yaw_table,
)
from benchmarks.face_series import (
    RealClip,
    choose_portraits,
    clips_of,
    codes_of_clips,
    driven_by,
    leaders_of,
    seated,
    shown_from_clip,
    shown_from_take,
    with_truth,
)
from benchmarks.face_swaps import cross_driven, swap_table, swapped
from benchmarks.identity_probe import Distributions, judge_identity, open_probe
from benchmarks.latent_probes import probe_rows
from benchmarks.model_driver import ModelDriver
from benchmarks.studio_truth import Take, TruthDriver, load_take
from benchmarks.tables import RESULTS, Result, Table
from forge.portrait import ForgeError
from media.faces import FaceFinder

Array = NDArray[np.float64]

YAW_FIGURES = ("psnr_face", "ssim_face", "apd", "aed", "nme", "csim")
CROSS_FIGURES = ("apd", "aed", "aed_mouth", "aed_eyes", "gaze", "csim", "found")
RATIO_FIGURES = ("apd", "aed", "aed_mouth", "aed_eyes", "nme", "gaze")
MODELS = ("face_256", "face_256_no_consist", "face_256_no_skip")
"""The face model itself, driven by its own encoder, and its ablations."""
SWAPPED_PEOPLE, DRIVEN = 5, 8
"""People of the swap matrix; portraits under one motion, and motions on one portrait."""
CROSSED_PEOPLE, TRUTH_FRAMES = 6, 4
"""Rendered people under another's motion, and frames of each: the studio films their truth."""
COMMAND = "python -m benchmarks.generation face --method {} --real CLIPS_CSV --studio DIR --portraits DIR --out DIR"
NOTES = (
    "Self-driven: the first good frame of a clip is the portrait, the landmarker reads the motion off later frames and "
    "the method draws them. Cross-driven: somebody else's motion. Means over frames; 95% intervals draw whole people.",
    "APD: mean absolute error of yaw, pitch and roll in degrees; AED: of 51 coefficients; NME: of 478 landmarks over "
    "the outer-eye distance; all by the landmarker that also drove. `truth, JPEG 90` shows its own noise.",
    "A method that was fitted to the landmarker (mesh's gains, a student's reading of it) is flattered by APD, AED and "
    "NME; the pixels around eyes and lips (PSNR) know nothing of it.",
    "CSIM: cosine of dlib's embedding, which trained nothing here. Not comparable with ArcFace figures of papers.",
    "Sharpness: amplitude of fine detail over that of the truth in the same region of the face; 1 is best, and above 1 "
    "is made-up detail (drawn teeth) as well as noise.",
)


def self_driven(bench: Bench, part: str, series: Sequence[Shown]) -> dict[str, list[Row]]:
    """Every method on every series of which the true frames are known."""
    rows: dict[str, list[Row]] = {}
    for method in (CEILING, *bench.drivers):
        rows[method] = []
        for shown in series:
            rows[method] += judged(bench, part, method, shown)
        bench.say(f"{part}: {method} done, {len(rows[method])} frames")
    folders = [bench.folder(part, method) for method in bench.drivers]
    for shown in series[:: max(1, len(series) // 4)][:4]:
        strips = [folders[0] / f"{shown.name}_truth.png", *(folder / f"{shown.name}.png" for folder in folders)]
        save_sheet(strips, bench.out / "sheets" / f"{part}_{shown.name}.jpg")
    return rows


def fidelity_tables(bench: Bench, title: str, rows: Mapping[str, Sequence[Row]]) -> list[Table]:
    """Pixels, motion, by yaw, and against `mesh`."""
    tables = [
        Table(f"{title}: pictures", method_table(rows, PIXEL_FIGURES, bench.missing)),
        Table(f"{title}: motion and identity", method_table(rows, (*MOTION_FIGURES, "found"), bench.missing)),
        Table(f"{title}: by yaw of the true head", yaw_table(rows, YAW_FIGURES)),
    ]
    ratios = against(rows, "mesh", RATIO_FIGURES)
    return tables + ([Table(f"{title}: errors over those of mesh (below 1 is better)", ratios)] if ratios else [])


def identity_rows(rows: Mapping[str, Sequence[Row]], known: Distributions | str) -> tuple[dict[str, object], ...]:
    """CSIM of every method with its place between same and different people."""
    table: list[dict[str, object]] = []
    for method, found in rows.items():
        identity = judge_identity(column(found, "csim").tolist(), people_of(found), known)
        table.append(
            {"method": method, "CSIM": with_interval(identity.csim), "place (1 same clip, 0 different people)":
             with_interval(identity.place), "above threshold": with_interval(identity.above_threshold),
             "verdict": identity.verdict}
        )  # fmt: skip
    return tuple(table)


def load_takes(folder: Path, size: int, limit: int) -> list[Take]:
    """The first takes of a folder of footage.

    Raises:
        ForgeError: when there is none, or they are of another size.
    """
    takes = [load_take(path) for path in sorted(folder.glob("*.footage"))[:limit]]
    if not takes or takes[0].frames[0].shape[0] != size:
        raise ForgeError(f"{folder}: no .footage of {size} pixels; film held-out people of that size first")
    return takes


def real_series(bench: Bench, table: Path, limit: int) -> list[Shown]:
    """Held-out real clips, the first of every person before the second of any."""
    nth: dict[str, int] = {}
    order: list[tuple[int, RealClip]] = []
    for clip in clips_of(table):
        nth[clip.person] = nth.get(clip.person, 0) + 1
        order.append((nth[clip.person], clip))
    chosen = [clip for _, clip in sorted(order, key=lambda pair: pair[0])[:limit]]
    found = [
        shown_from_clip(clip, bench.finder, size=bench.size, count=bench.frames, cache=bench.out / "watched")
        for clip in chosen
    ]
    return usable(bench, found)


def studio_series(bench: Bench, takes: Sequence[Take]) -> list[Shown]:
    """Takes of rendered people whom no training saw."""
    return usable(
        bench, [shown_from_take(take, bench.finder, count=bench.frames, cache=bench.out / "watched") for take in takes]
    )


def studio_cross(bench: Bench, takes: Sequence[Take], series: Sequence[Shown]) -> dict[str, list[Row]]:
    """Every second person under the motion of the one before, with true frames."""
    truth = TruthDriver(takes)
    pairs = pairwise(series[: CROSSED_PEOPLE + 1])
    shown = usable(
        bench,
        [with_truth(driven_by(seated(b), a, TRUTH_FRAMES), truth, bench.finder, bench.out / "truth") for a, b in pairs],
    )
    rows = {m: [row for s in shown for row in judged(bench, "studio_cross", m, s)] for m in (CEILING, *bench.drivers)}
    folders = [bench.folder("studio_cross", method) for method in bench.drivers]
    strips = [
        folder / name
        for s in shown
        for folder, name in ((folders[0], f"{s.name}_truth.png"), *((f, f"{s.name}.png") for f in folders))
    ]
    save_sheet(strips, bench.out / "sheets" / "studio_cross.jpg")
    return rows


def usable(bench: Bench, found: Sequence[Shown | str]) -> list[Shown]:
    """What can be judged; the rest is said."""
    for line in found:
        if isinstance(line, str):
            bench.say(line)
    series = [shown for shown in found if isinstance(shown, Shown)]
    if not series:
        raise ForgeError("nothing to judge: no series with a face was found")
    return series


def known_people(bench: Bench, table: Path | None) -> Distributions | str:
    """Same-person and different-person similarities of all real clips of a table, or why there are none."""
    if isinstance(bench.judges.embed, str):
        return bench.judges.embed
    if table is None:
        return "unplaced: same and different people are measured on real clips, give --real"
    clips = clips_of(table, split=None)
    codes, people, names = codes_of_clips(
        clips, bench.finder, bench.judges.embed, size=bench.size, frames=3, cache=bench.out / "codes"
    )
    try:
        return Distributions.of(codes.astype(np.float64), people, names)
    except ValueError as error:
        return str(error)


def cross_part(
    bench: Bench, folder: Path, series: Sequence[Shown], known: Distributions | str
) -> tuple[list[Table], dict[str, list[Row]]]:
    """Part 3: somebody else's motion."""
    sitters = choose_portraits(folder, bench.finder, size=bench.size, count=DRIVEN)
    bench.say(f"cross: {', '.join(f'{sitter.name} ({sitter.kind})' for sitter in sitters)}")
    people = leaders_of(series, DRIVEN)
    many: dict[str, list[Row]] = {}
    one: dict[str, list[Row]] = {}
    for method in bench.drivers:
        many[method], one[method] = cross_driven(bench, method, sitters, people)
        bench.say(f"cross: {method} done")
    tables = []
    for title, rows in ((f"one motion on {len(sitters)} portraits", many), (f"{len(people)} motions on one", one)):
        tables.append(Table(f"cross-driven, {title}", method_table(rows, CROSS_FIGURES, bench.missing)))
        ratios = against(rows, "mesh", ("apd", "aed", "aed_mouth", "aed_eyes", "gaze"))
        tables += [Table(f"cross-driven, {title}: errors over those of mesh", ratios)] if ratios else []
        tables.append(Table(f"cross-driven, {title}: identity", identity_rows(rows, known)))
    kinds = {sitter.name: sitter.kind for sitter in sitters}
    by_kind = tuple(
        {"kind": kind, **row}
        for kind in dict.fromkeys(kinds.values())
        for row in method_table(
            {m: [r for r in rows if kinds[str(r["person"])] == kind] for m, rows in many.items()},
            ("apd", "aed", "csim", "found"),
            bench.missing,
        )
    )
    every = {
        method: [*rows, *(row for row in one[method] if row["clip"] not in {r["clip"] for r in rows})]
        for method, rows in many.items()
    }
    return [*tables, Table("cross-driven, by kind of portrait", by_kind)], every


def swap_part(bench: Bench, part: str, series: Sequence[Shown], truth: Driver | None) -> Table:
    """Part 4: identity x pose x expression, with a row of perfect swaps where the studio can film them."""
    people = leaders_of(series, SWAPPED_PEOPLE, calm=truth is None)
    methods = dict(bench.drivers) | ({truth.name: truth} if truth else {})
    methods.pop("static", None)
    wider = replace(bench, drivers=methods)
    rows = {method: swapped(wider, part, method, people) for method in methods}
    bench.say(f"{part}: swaps done")
    return Table(f"swaps of one factor, {part}, {len(people)} people", swap_table(rows, bench.missing))


def latent_part(bench: Bench, part: str, series: Sequence[Shown]) -> Table:
    """Part 5: what z_dyn gives away, beside what the landmarker's own coefficients give away."""
    people: list[str] = []
    halves: list[int] = []
    yaw: list[float] = []
    coefficients: list[Array] = []
    for shown in series:
        count = len(shown.blendshapes)
        people += [shown.person] * count
        halves += [int(i >= count / 2) for i in range(count)]
        yaw += shown.angles[:, 0].tolist()
        coefficients.append(shown.blendshapes.astype(np.float64))
    rows = list(probe_rows("coefficients of the landmarker", np.concatenate(coefficients), people, yaw, halves))
    for name, driver in bench.drivers.items():
        if not isinstance(driver, Reader):
            continue
        codes = np.concatenate([np.asarray(driver.read_dynamics(s.targets or ()), np.float64) for s in series])
        rows += probe_rows(f"z_dyn of {name}", codes, people, yaw, halves)
    return Table(f"what a dynamics code gives away, {part}", tuple(rows))


def open_drivers(
    method: str, models: Mapping[str, Path], size: int, weights: Path | None = None
) -> tuple[dict[str, Driver], list[str]]:
    """The methods to judge, `static` first, and lines about those that cannot be.

    Raises:
        ForgeError: when the only method asked for cannot be loaded.
    """
    drivers: dict[str, Driver] = {"static": driver_named("static", size)}
    absent: list[str] = []
    for name in ("mesh", "vasa") if method == "both" else (method,):
        try:
            drivers[name] = driver_named(name, size, weights)
        except ForgeError as error:
            if method != "both":
                raise
            absent.append(f"{name}: unscored, {error}")
    for name, folder in models.items():
        drivers[name] = ModelDriver(name, folder, size)
    absent += [f"model {name}: not trained, needs a CUDA GPU" for name in MODELS if name not in models]
    return drivers, absent


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation face", description=(__doc__ or "")[:45])
    parser.add_argument("--method", required=True, choices=["static", "mesh", "vasa", "both"])
    parser.add_argument("--real", type=Path, help="CSV of clips: id, file, label, person, split")
    parser.add_argument("--studio", type=Path, help="folder of rendered footage of held-out people")
    parser.add_argument("--portraits", type=Path, help="folder of portraits to drive with others' motion")
    parser.add_argument("--out", type=Path, required=True, help="folder of figures and sheets; earlier ones are kept")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--clips", type=int, default=24, help="at most so many clips, and takes")
    parser.add_argument("--frames", type=int, default=16, help="frames a clip")
    parser.add_argument("--judge", type=Path, help="weights of a network for LPIPS-like figures that trained nothing")
    parser.add_argument("--weights", type=Path, help="of vasa, others than those that ship")
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME=WEIGHTS", help="a face model by its own encoder"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--name", default="generation_face", help="of the results file")
    options = parser.parse_args(argv)
    if not (options.real or options.studio):
        parser.error("give --real, --studio or both: without them there is nothing to draw")
    return options


def part_tables(
    bench: Bench,
    part: str,
    series: Sequence[Shown],
    known: Distributions | str,
    evidence: dict[str, Mapping[str, Sequence[Row]]],
    truth: Driver | None = None,
) -> list[Table]:
    """Self-driven figures, identity, swaps and probes of one kind of material."""
    rows = evidence[part] = self_driven(bench, part, series)
    tables = fidelity_tables(bench, f"self-driven, {part}, {len(series)} held-out", rows)
    tables.append(Table(f"self-driven, {part}: identity", identity_rows(rows, known)))
    return [*tables, swap_part(bench, part, series, truth), latent_part(bench, part, series)]


def judge_all(bench: Bench, options: argparse.Namespace) -> list[Table]:
    """All parts for which there is material."""
    tables: list[Table] = []
    evidence: dict[str, Mapping[str, Sequence[Row]]] = {}
    known = known_people(bench, options.real)
    series: list[Shown] = []
    if options.real is not None:
        series = real_series(bench, options.real, options.clips)
        tables += part_tables(bench, "real", series, known, evidence)
    if options.studio is not None:
        takes = load_takes(options.studio, options.size, options.clips)
        rendered = studio_series(bench, takes)
        tables += part_tables(bench, "studio", rendered, known, evidence, truth=TruthDriver(takes))
        crossed = studio_cross(bench, takes, rendered)
        tables += fidelity_tables(bench, "cross-driven, studio, true frames known", crossed)[:2]
        series = series or rendered
    if options.portraits is not None:
        more, evidence["cross"] = cross_part(bench, options.portraits, series, known)
        tables += more
    if not isinstance(known, str):
        tables.append(Table("CSIM between real frames", tuple(known.rows())))
    first = Table("against what was asked of `vasa`", acceptance_rows(evidence, known))
    return [first, *tables] if "vasa" in bench.drivers else tables


def main(argv: list[str] | None = None) -> int:
    """Draw, watch, judge, save."""
    options = parsed(argv)
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    cv2.setNumThreads(1)
    try:
        models = {name: Path(path) for name, _, path in (item.partition("=") for item in options.model)}
        drivers, absent = open_drivers(options.method, models, options.size, options.weights)
        with FaceFinder(max_faces=1) as finder:
            judges = Judges(open_probe(), open_judge(options.judge))
            bench = Bench(finder, judges, drivers, options.out, options.size, options.frames, say)
            tables = judge_all(bench, options)
    except (ForgeError, OSError) as error:
        say(str(error))
        return 1
    notes = (*NOTES, *absent, *(f"{name}: {why}" for name, why in bench.missing.items()))
    path = Result(options.name, COMMAND.format(options.method), tuple(tables), notes).save(options.results)
    say(f"{path} and {options.out / 'sheets'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
