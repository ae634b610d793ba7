"""Somebody else's motion, and one factor at a time: does only what was swapped change?

    rows = cross_driven(bench, "mesh", sitters, series)    # one motion on every portrait, every motion on one portrait
    rows = swapped(bench, "real", "mesh", series)          # identity x pose x expression
    table = swap_table(rows_by_method)

A swap keeps two of three factors. What the drawn face shows of each is read by judges that drew nothing: identity by
the embedding (1 - CSIM), pose and expression by the landmarker. Ideal is a diagonal: the swapped factor changes as
asked, the others by no more than the judges' own noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from benchmarks.driving import asked_angles, asked_blendshapes, motion_of, watch
from benchmarks.face_judging import (
    Bench,
    Row,
    Shown,
    column,
    judged,
    load_rows,
    people_of,
    save_rows,
    save_sheet,
    with_interval,
)
from benchmarks.face_series import Sitter, driven_by
from benchmarks.fidelity import cosine_similarity, expression_error, mean_measure, pose_error
from forge.motion.features import POSE, Z_DYN, Motion
from media.faces import head_angles

Array = NDArray[np.float64]
UInt8Array = NDArray[np.uint8]

FACTORS = ("identity", "pose", "expression")
PAIRS = 3
"""Pairs of frames of each series between which pose and expression are swapped."""


def cross_driven(
    bench: Bench, method: str, sitters: Sequence[Sitter], series: Sequence[Shown]
) -> tuple[list[Row], list[Row]]:
    """Figures of one motion on every portrait, and of every motion on the first portrait."""
    on_many = [driven_by(sitter, series[0]) for sitter in sitters]
    # a photo-like portrait where there is one: on it a drifting identity shows best
    sitter = next((sitter for sitter in sitters if sitter.kind == "photo-like"), sitters[0])
    on_one = [driven_by(sitter, shown) for shown in series]
    first = [row for shown in on_many for row in judged(bench, "cross", method, shown)]
    # people of the second are the motions: the portrait is one and the same
    second = [row | {"person": shown.name} for shown in on_one for row in judged(bench, "cross", method, shown)]
    folder = bench.folder("cross", method)
    for title, driven in (("one_motion", on_many), ("one_portrait", on_one)):
        save_sheet([folder / f"{shown.name}.png" for shown in driven], bench.out / "sheets" / f"{method}_{title}.jpg")
    return first, second


def most_different(motion: Motion, pairs: int = PAIRS) -> list[tuple[int, int]]:
    """Frames a and b of a motion that differ most in pose and expression, each frame in one pair only."""
    turned = np.abs(motion.pose[:, None, :3] - motion.pose[None, :, :3]).mean(axis=2) / 5.0
    shaped = np.abs(motion.blendshapes[:, None] - motion.blendshapes[None]).mean(axis=2) / 0.05
    apart = turned * shaped
    chosen: list[tuple[int, int]] = []
    for flat in np.argsort(-apart, axis=None):
        a, b = divmod(int(flat), motion.length)
        if a < b and len(chosen) < pairs and not {a, b} & {i for pair in chosen for i in pair}:
            chosen.append((a, b))
    return chosen


def with_pose_of(motion: Motion, pose_from: Sequence[int], dynamics_from: Sequence[int]) -> Motion:
    """Frames that take their head pose from one frame of a motion and their dynamics from another."""
    values = motion.values[list(dynamics_from)].copy()
    values[:, POSE] = motion.values[list(pose_from), POSE]
    assert Z_DYN.start == POSE.stop
    return Motion(values, motion.fps)


def onto(motion: Motion, of: Shown, portrait: Shown) -> Motion:
    """A motion relative to one portrait, turned into the same head angles for another."""
    values = motion.values.copy()
    values[:, :3] += np.array(head_angles(of.face.pose)) - np.array(head_angles(portrait.face.pose))
    return Motion(values, motion.fps)


@dataclass(frozen=True, eq=False)
class Read:
    """What the judges read off drawn frames."""

    codes: Array
    angles: Array
    blendshapes: Array


def read_off(bench: Bench, method: str, portrait: Shown, motion: Motion) -> Read:
    """Draw and read."""
    drawn = list(bench.drivers[method].fit(portrait.portrait, portrait.face).draws(motion))
    seen = watch(bench.finder, drawn)
    embed = bench.judges.embed
    codes = np.full((len(drawn), 128), nan)
    if not isinstance(embed, str):
        for i in np.flatnonzero(seen.found):
            codes[i] = embed(drawn[i], seen.landmarks[i])
    return Read(codes, seen.angles, seen.blendshapes.astype(np.float64))


def swapped(bench: Bench, part: str, method: str, series: Sequence[Shown]) -> list[Row]:
    """What each swap changed in what was drawn, one row a swap and pair of frames; resumable."""
    rows: list[Row] = []
    folder = bench.folder(f"{part}_swaps", method)
    for i, shown in enumerate(series):
        path = folder / f"{shown.name}.jsonl"
        if not path.is_file():
            others = [s for s in (*series[i + 1 :], *series[:i]) if s.person != shown.person]
            if not others or len(shown.angles) < 2:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            save_rows(_swaps_of(bench, method, shown, others[0]), path)
        rows += load_rows(path)
    return rows


def _swaps_of(bench: Bench, method: str, shown: Shown, other: Shown) -> list[Row]:
    leader = shown.leader
    plain = motion_of(leader.watched, leader.face, leader.portrait.shape[0])
    told = shown.motion_for(bench.drivers[method])
    pairs = most_different(plain)
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    frames = {"identity": (a, a), "pose": (b, a), "expression": (a, b)}
    base = with_pose_of(plain, a, a)
    before = read_off(bench, method, shown, with_pose_of(told, a, a))
    rows: list[Row] = []
    for factor, (pose_from, dynamics_from) in frames.items():
        portrait = other if factor == "identity" else shown
        motion = onto(with_pose_of(plain, pose_from, dynamics_from), shown, portrait)
        command = onto(with_pose_of(told, pose_from, dynamics_from), shown, portrait)
        after = read_off(bench, method, portrait, command)
        change = {
            "identity": 1 - cosine_similarity(before.codes, after.codes),
            "pose": pose_error(before.angles, after.angles).mean(axis=1),
            "expression": expression_error(before.blendshapes, after.blendshapes),
        }
        wanted = {
            "identity": np.zeros(len(a)),
            "pose": pose_error(asked_angles(base, shown.face), asked_angles(motion, portrait.face)).mean(axis=1),
            "expression": expression_error(asked_blendshapes(base), asked_blendshapes(motion)),
        }
        if factor == "identity" and not isinstance(bench.judges.embed, str):
            own, its = (bench.judges.embed(s.portrait, s.face.landmarks) for s in (shown, other))
            wanted["identity"] = np.full(len(a), 1 - float(cosine_similarity(own[None], its[None])[0]))
        for k in range(len(a)):
            row: Row = {"clip": shown.name, "person": shown.person, "frame": k, "swap": factor}
            row |= {f"{name}_change": float(change[name][k]) for name in FACTORS}
            row |= {f"{name}_asked": float(wanted[name][k]) for name in FACTORS}
            rows.append(row)
    return rows


def swap_table(
    rows_by_method: Mapping[str, Sequence[Row]], missing: Mapping[str, str]
) -> tuple[dict[str, object], ...]:
    """The matrix: rows what was swapped, columns what changed, with what was asked in brackets on the diagonal."""
    heads = {"identity": "identity (1 - CSIM)", "pose": "pose, degrees", "expression": "expression, AED"}
    table = []
    for method, rows in rows_by_method.items():
        for factor in FACTORS:
            inside = [row for row in rows if row["swap"] == factor]
            shown: dict[str, object] = {"method": method, "swapped": factor}
            for name in FACTORS:
                reason = missing.get("csim", "nothing drawn") if name == "identity" else "nothing drawn"
                text = with_interval(mean_measure(column(inside, f"{name}_change"), people_of(inside), reason=reason))
                asked = column(inside, f"{name}_asked")
                shown[heads[name]] = f"{text}; asked {np.nanmean(asked):.3g}" if name == factor and inside else text
            table.append(shown)
    return tuple(table)
