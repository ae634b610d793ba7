"""Judge motion made from speech: natural ranges, sync, closures, controls, seams, drift; ours beside real people.

    python -m benchmarks.generation motion --real CLIPS.csv --speech DIR --portraits DIR --aligned CORPUS --out DIR
    python -m benchmarks.generation motion --quick ... --weights new=RUN/motion.safetensors

`--quick` (`motion_quick`, two CPU-minutes) judges exact landmarks of few utterances and saves nothing. The whole run:
    1. judges      SyncNet B (self) and CAPP (self) learn from real and foreign clips of the train split; calibration
    2. filmed      real people of the val split, random pairs, frozen mouth, foreign generators
    3. exact       every system on the sound of those people, on utterances and on aligned speech: exact landmarks
    4. drawn       the main systems drawn by method `mesh` and followed by the tracker: natural ranges, sync
    5. per language and per emotion, seeds, controls asked and obtained, ten minutes
    6. goals       the lines of "done when", each with its figure
Nothing that trained a generator of ours judges, and no clip of ours trained a judge. What is absent says why.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from math import isnan, nan
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import motion_quick
from benchmarks.motion_controls import Answer, answers
from benchmarks.motion_judging import Stage, mean_of
from benchmarks.motion_material import Utterance, read_aligned, read_utterances, spread_over_kinds
from benchmarks.motion_parts import (
    drawn_rows,
    emotion_rows,
    exact_rows,
    filmed_rows,
    long_row,
    long_speech,
    seen_controls,
    shift_rows,
    takes_rows,
)
from benchmarks.motion_systems import DISTILLED, SHIPPED, SHIPPED_DISTILLED, Speak, open_systems
from benchmarks.motion_tables import (
    FIGURES,
    Found,
    controls_table,
    goals_of,
    goals_table,
    groups_table,
    ladder_table,
    ranges_table,
    rows_table,
    trials_table,
)
from benchmarks.pose_judge import ladder, open_pose_judge
from benchmarks.sync_judge import SOUND, Lesson, aligned, in_sync, left_out, open_sync_judge, read_lessons, tried
from benchmarks.tables import RESULTS, Result, Table
from forge.mesh.face import MeshFace
from forge.portrait import Declaration, ForgeError, list_portraits
from media.clip import MediaError
from media.faces import FaceFinder
from media.video import read_waveform
from provenance.files import write_whole

COMMAND = (
    "python -m benchmarks.generation motion --real CLIPS.csv --speech DIR --portraits DIR --aligned CORPUS --out DIR"
)
STEADY_SECONDS = 30.0
"""Of the speech on which liveliness is asked: blinks are few."""
SLOW_ROWS = ("diffusion", "nearest")
"""Rows that are run last."""
SLOW, HEARD_DRAWN = 8, 12
"""Utterances for 50 steps and for no context, and sounds of clips that are drawn: real people's first."""
SPOKEN, ALIGNED, DRAWN, SECONDS = 16, 24, 8, 6.0
"""Utterances of speech and of known sounds for every system, of speech for drawn rows, and how much of each."""
CODE = (
    "benchmarks/*motion*.py", "benchmarks/*_judge.py", "benchmarks/two_views.py", "benchmarks/lip_geometry.py",
    "benchmarks/talking.py", "forge/motion/*.py", "forge/stream.py",
)  # fmt: skip
"""What figures depend on besides weights and material."""
NOTES = (
    "S_C, S_D, CAPP: judges of our own (self), trained on real people and foreign generators; comparable with nothing "
    "but each other. S_C likes loudness: a jaw that follows it scores high, so S_C is read beside p b m and voice r.",
    "Exact: landmarks and angles of the motion on a mesh face, lips with the tracker's noise. Drawn: the same drawn at "
    "256 pixels and tracked, as the real people are. dP: mean change of yaw, pitch and roll, five frames averaged.",
    "p b m closed: voices no network learned from; closed is a gap of at most .015 of the outer-eye distance within 40 "
    "ms of the sound. Vowels open shows that the lips are not simply always shut.",
    "Beats: how near the voice's onsets the head turns, 0 to 1; compare with real people, not with 1.",
    "Intervals are 95% and draw whole speakers. Filmed: val people, none of whom a judge learned from.",
)


@dataclass(frozen=True, eq=False)
class Bench:
    """What a run works with."""

    options: argparse.Namespace
    console: Console
    lessons: tuple[Lesson, ...]
    stages: tuple[Stage, ...]
    """One for each portrait."""
    spoken: tuple[Utterance, ...]
    aligned: tuple[Utterance, ...]
    clips: Mapping[str, Utterance]
    """Sound of the clips of val, by clip."""
    systems: Mapping[str, Speak]
    absent: Mapping[str, str]
    mains: tuple[str, ...]
    """Systems that are also drawn, asked and run for ten minutes: what ships, and the baseline."""
    mark: str
    """Digest of code, weights and material."""

    @property
    def heard(self) -> list[Utterance]:
        """Speech of the clips of val, real people first; music and what is out of sync is left out."""
        judge = self.stages[0].judge
        val = sorted((le for le in self.lessons if not le.train), key=lambda le: (not le.real, le.name))
        fitting = [le for le in val if judge is not None and in_sync(judge, le) is not None]
        return [self.clips[le.name] for le in fitting[: self.options.most]]

    @property
    def judged(self) -> list[Lesson]:
        """Clips of val: nobody in them taught a judge."""
        return [lesson for lesson in self.lessons if not lesson.train]

    def say(self, line: str) -> None:
        """One line of progress."""
        self.console.print(f"{time.process_time():6.0f} s  {line}", markup=False, highlight=False)


def open_bench(options: argparse.Namespace, console: Console) -> Bench:
    """Read the material, train or take the judges, fit the portraits, load the systems.

    Raises:
        ForgeError: for portraits that cannot be used.
        MediaError: for clips or sounds that cannot be read.
        ValueError: for damaged judges.
    """
    lessons = read_lessons(options.real, options.tracks or options.out / "tracks") if options.real else []
    sync = open_sync_judge(lessons, options.out) if lessons else None
    heads = open_pose_judge(lessons, options.out) if lessons and not options.quick else None
    listed = list_portraits(options.portraits, Declaration.nonexistent())
    count = 1 if options.quick else options.portraits_count
    stages = [Stage(MeshFace.fit(each.load().image, size=256), sync, heads) for each in listed[:count]]
    clips = {lesson.name: sound_of_clip(lesson) for lesson in lessons if not lesson.train}
    wanted = (motion_quick.SPOKEN, motion_quick.ALIGNED, motion_quick.SECONDS)
    spoken, known, seconds = wanted if options.quick else (options.most, min(ALIGNED, options.most), SECONDS)
    systems = open_systems(weights_of(options), options.distilled, lessons, options.systems, variants=not options.quick)
    networks = (DISTILLED,) if callable(systems.get(DISTILLED)) else tuple(weights_of(options))
    mains = [name for name in (*networks, "baseline") if callable(systems.get(name))]
    return Bench(
        options,
        console,
        tuple(lessons),
        tuple(stages),
        tuple(u.shortened(seconds) for u in spread_over_kinds(read_utterances(options.speech), spoken)),
        tuple(u.shortened(seconds) for u in read_aligned(options.aligned, known)),
        clips,
        {name: speak for name, speak in systems.items() if not isinstance(speak, str)},
        {name: reason for name, reason in systems.items() if isinstance(reason, str)},
        tuple(mains),
        mark_of(
            [*weights_of(options).values(), *filter(None, [options.distilled, options.real])],
            [options.speech, options.portraits],
        ),
    )


def sound_of_clip(lesson: Lesson) -> Utterance:
    """The sound of a filmed person as an utterance."""
    return Utterance(lesson.name, lesson.person, "unknown", "clip", read_waveform(lesson.video))


def weights_of(options: argparse.Namespace) -> dict[str, Path]:
    """Networks by name: `NAME=PATH` or a path alone; by default the one that ships."""
    given = {}
    for text in options.weights or []:
        name, equals, path = text.partition("=")
        given[name if equals else Path(text).parent.name or text] = Path(path if equals else text)
    return given or {"diffusion": SHIPPED}


def calibration(bench: Bench) -> list[Table]:
    """What the judges say of people they never saw."""
    judge, heads = bench.stages[0].judge, bench.stages[0].heads
    if judge is None or heads is None:
        return []
    taught = aligned([lesson for lesson in bench.lessons if lesson.train])
    val = [lesson for lesson in bench.judged if in_sync(judge, lesson) is not None]
    trials = {
        "left-out people of train, linear": left_out(taught, sound=replace(SOUND, fourier=0)),
        "left-out people of train, chosen": left_out(taught),
    }
    for name, real in (("val, real people, every sound", True), ("val, foreign generators, every sound", False)):
        chosen = [lesson for lesson in bench.judged if lesson.real == real]
        if chosen:
            trials[name] = tried(judge, chosen)
    tables = [trials_table(trials)]
    if val:
        tables.append(Table("SyncNet B (self): shift curve on val, 31 shifts", tuple(shift_rows(bench.stages[0], val))))
        tables.append(ladder_table(ladder(heads, val)))
    return tables


def asked(bench: Bench, finder: FaceFinder) -> tuple[Table, dict[str, list[Answer]]]:
    """Controls of the main systems; gaze and distance also as the tracker sees them."""
    chosen = [each.shortened(4.0) for each in bench.spoken[:2]]
    steady = Utterance("steady", "steady", "unknown", "speech", long_speech(bench.spoken, STEADY_SECONDS))
    given: dict[str, list[Answer]] = {}
    for name in bench.mains:
        given[name] = list(answers(bench.systems[name], chosen, steady))
        seen = seen_controls(bench.stages[0], bench.systems[name], chosen[0], bench.options.out / "drawn", finder)
        given[name] += [Answer(s.control, s.asked, chosen[0].cluster, s.got, s.error) for s in seen]
        bench.say(f"controls of {name}")
    return controls_table(given), given


def rest_of(
    name: str, given: Mapping[str, Sequence[Answer]], long: Mapping[str, object], table: Table
) -> dict[str, float]:
    """Figures of goals that are no mean over utterances."""

    def error(control: str) -> float:
        return mean_of([answer.error for answer in given.get(name, ()) if answer.control == control])

    def of_long(key: str) -> float:
        value = long.get(key, nan)
        return float(value) if isinstance(value, int | float) else nan

    rising = [
        r for r in table.rows if r["row"] == name and str(r["control"]).startswith("emotion") and r["rising"] == "yes"
    ]
    return {
        "gaze_error": error("gaze"),
        "distance_error": error("distance"),
        "emotions_rising": float(len(rising)),
        "drift": of_long("worst drift of yaw, pitch, roll (deviations)"),
        "sharpness": of_long("sharpness last over first minute"),
        "seam": max(of_long("seam jerk head"), of_long("seam jerk lips")),
    }


@dataclass(frozen=True, eq=False)
class Deep:
    """What is found of the judges, of filmed people and of the main systems."""

    judges: list[Table]
    filmed: list[Found]
    drawn: list[Found]
    emotional: list[Found]
    controls: Table
    given: Mapping[str, Sequence[Answer]]
    long: Mapping[str, Mapping[str, object]]


def look_deep(bench: Bench) -> Deep:
    """Everything but the rows of exact landmarks; parts are kept, so that a run that was cut off goes on."""
    stage, options = bench.stages[0], bench.options
    judges = calibration(bench)
    bench.say("judges calibrated")
    filmed = kept(bench, "filmed", "people", partial(filmed_rows, stage, bench.judged, bench.clips))
    short = [each.shortened(5.0) for each in bench.spoken[:4]]
    drawn: list[Found] = []
    with FaceFinder(max_faces=1) as finder:
        for name in bench.mains:
            some = [*bench.heard[:HEARD_DRAWN], *bench.spoken[:DRAWN]]
            folder = options.out / "drawn"
            make = partial(drawn_rows, bench.stages, name, bench.systems[name], some, folder, finder)
            drawn += kept(bench, "drawn", name, make)
        controls, given = asked(bench, finder)
    emotional: list[Found] = []
    long, speech = {}, long_speech(bench.spoken, options.long_seconds)
    for name in bench.mains:
        emotional += kept(bench, "emotion", name, partial(emotion_rows, stage, name, bench.systems[name], short))
        long[name] = long_row(stage, name, bench.systems[name], speech)
        bench.say(f"long run: {name}")
    return Deep(judges, filmed, drawn, emotional, controls, given, long)


def exact_of(bench: Bench, names: Sequence[str]) -> list[Found]:
    """Rows of exact landmarks, and several seeds, of some systems."""
    stage = bench.stages[0]
    few = [*bench.heard, *bench.spoken[:SPOKEN]]
    short = [each.shortened(5.0) for each in bench.spoken[:4]]
    exact: list[Found] = []
    for name in names:
        speak = bench.systems[name]
        every = [*bench.heard, *bench.spoken, *bench.aligned] if name in bench.mains else [*few, *bench.aligned]
        if name.endswith(("50 steps", "no context")):
            every = [*few[:SLOW], *bench.aligned[: SLOW // 2]]
        exact += kept(bench, "exact", name, partial(exact_rows, stage, name, speak, every))
        if name in bench.mains or "no guidance" in name:
            exact += kept(bench, "takes", name, partial(takes_rows, stage, name, speak, short))
    return exact


def tables_of(bench: Bench, deep: Deep, exact: Sequence[Found], absent: Mapping[str, str]) -> list[Table]:
    """All tables."""
    shared = {each.name for each in [*bench.heard, *bench.spoken[:SPOKEN], *bench.aligned]}
    alike = [each for each in exact if each.utterance in shared]
    speaking = [each for each in exact if each.row in bench.mains and each.part == "exact"]
    beside = [each for each in deep.drawn if each.group == "clip"]
    goals = []
    for name in bench.mains:
        rest = rest_of(name, deep.given, deep.long[name], deep.controls)
        goals += goals_of(name, exact, deep.drawn, deep.filmed, rest)
    return [
        goals_table(goals),
        *deep.judges,
        rows_table("filmed people of val, tracked", deep.filmed, FIGURES, {}),
        rows_table("systems, exact landmarks, the same utterances for all but 50 steps", alike, FIGURES, absent),
        rows_table("drawn by mesh and tracked", deep.drawn, FIGURES, {}),
        rows_table("the same on the sound of the clips of val alone", beside, FIGURES, {}),
        ranges_table(deep.drawn, [each for each in deep.filmed if each.row == "real people"]),
        groups_table("by language, exact; * out of 30% of both references", speaking, "language"),
        groups_table("by emotion at strength 0.8, exact; * as above", deep.emotional, "emotion"),
        deep.controls,
        Table("long run: drift and seams", tuple(deep.long.values())),
    ]


def judge_all(bench: Bench) -> None:
    """Every part; saved once with the main systems, and again with their ablations, which take longest."""
    deep = look_deep(bench)
    first = [*bench.mains, *(name for name in bench.systems if not name.startswith(SLOW_ROWS))]
    for names in (list(dict.fromkeys(first)), list(bench.systems)):
        exact = exact_of(bench, names)
        missing = {name: "not yet run" for name in bench.systems if name not in names}
        save_result(bench, tables_of(bench, deep, exact, {**bench.absent, **missing}))


def save_result(bench: Bench, tables: Sequence[Table]) -> None:
    """Write results/motion.json."""
    official = (
        "Official SyncNet: it reads pixels through its own face detector and network definition, neither of which is "
        "here; unscored."
    )
    cost = f"{time.process_time() / 60:.0f} CPU-minutes; {len(bench.lessons)} lessons, {len(bench.spoken)} utterances."
    filled = tuple(table for table in tables if table.rows)
    given = bench.options
    shorter = f" --most {given.most}" * (given.most < 10_000) + f" --long-seconds {given.long_seconds:g}"
    Result("motion", COMMAND + shorter, filled, (*NOTES, official, cost)).save(bench.options.results)
    bench.say(f"saved {bench.options.results / 'motion.json'}")


def kept(bench: Bench, part: str, name: str, make: Callable[[], Iterator[Found]]) -> list[Found]:
    """What a part finds, or what it found before with the same code, weights and utterances."""
    mark = sha256(f"{part} {name} {bench.mark} {bench.options.most}".encode())
    slug = re.sub(r"\W+", "_", name)
    path = bench.options.out / "found" / f"{part}_{slug}_{mark.hexdigest()[:12]}.jsonl"
    if path.is_file():
        return load_found(path)
    found = list(make())
    path.parent.mkdir(parents=True, exist_ok=True)
    save_found(found, path)
    bench.say(f"{part}: {name}, {len(found)} utterances")
    return found


def mark_of(weights: Sequence[Path], folders: Sequence[Path]) -> str:
    """A digest of what figures depend on: code of this benchmark and of motion, weights and tables, names of sounds."""
    root = Path(__file__).resolve().parents[1]
    code = [path for pattern in CODE for path in sorted(root.glob(pattern))]
    mark = sha256()
    for path in [*code, *weights]:
        if path.is_file():
            mark.update(path.read_bytes())
    for folder in folders:
        mark.update(" ".join(sorted(path.name for path in folder.iterdir())).encode())
    return mark.hexdigest()


def load_found(path: Path) -> list[Found]:
    """Read what `save_found` wrote."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        facts = {name: nan if value is None else float(value) for name, value in fields.pop("facts").items()}
        found.append(Found(**fields, facts=facts))
    return found


def save_found(found: Sequence[Found], path: Path) -> None:
    """Every figure of every utterance as a line of JSON; NaN becomes null."""
    lines = []
    for each in found:
        facts = {name: None if isnan(value) else round(value, 6) for name, value in each.facts.items()}
        lines.append(json.dumps(asdict(each) | {"facts": facts}))
    write_whole(path, "".join(line + "\n" for line in lines).encode())


def read_options(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.generation motion", description="Judge motion of speech."
    )
    add = parser.add_argument
    add("--real", type=Path, help="table of real and foreign clips: trains the judges and is the yardstick")
    add("--speech", type=Path, required=True, help="folder of utterances, with speech.csv if there is one")
    add("--portraits", type=Path, required=True)
    add("--portraits-count", type=int, default=3, help="portraits for the drawn rows, in turn")
    add("--aligned", type=Path, action="append", default=[], help="folder of forge.motion.spoken_corpus")
    add("--out", type=Path, required=True, help="judges, tracks, figures; what is there is used again")
    add("--tracks", type=Path, help="folder of NAME.npz tracks of the clips; default OUT/tracks")
    add("--systems", type=lambda text: text.split(","), default=["baseline", "diffusion"])
    add("--weights", action="append", help="NAME=motion.safetensors, again and again; default: what ships")
    add("--distilled", type=Path, help="weights that need few steps; default: what ships, if any")
    add("--most", type=int, default=10_000, help="at most so many utterances of each kind, for a short run")
    add("--long-seconds", type=float, default=600.0, help="length of the long run")
    add("--official-syncnet", type=Path, help="the official SyncNet, for users who have it")
    add("--quick", action="store_true", help="a table in two CPU-minutes, nothing saved")
    add("--results", type=Path, default=RESULTS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Judge, save, or print the quick table."""
    options, console = read_options(argv), Console(stderr=True)
    if options.distilled is None and not options.quick and SHIPPED_DISTILLED.is_file():
        options.distilled = SHIPPED_DISTILLED
    options.out.mkdir(parents=True, exist_ok=True)
    np.seterr(invalid="ignore")
    try:
        bench = open_bench(options, console)
        for name, reason in bench.absent.items():
            console.print(f"{name}: {reason}", markup=False, soft_wrap=True)
        if options.quick:
            filmed = motion_quick.means_of(list(filmed_rows(bench.stages[0], bench.judged, bench.clips)))
            spoken = [*bench.heard[: motion_quick.HEARD], *bench.spoken, *bench.aligned]
            motion_quick.show_quick(bench.stages[0], bench.systems, spoken, filmed)
            return 0
        judge_all(bench)
    except (ForgeError, MediaError, ValueError, OSError) as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
