"""From drawn frames to saved figures, and from saved figures to tables.

    rows = judge_frames(shown, drawn, judges)              # one flat dict of figures a frame, to be saved
    Table("by method", fidelity_rows(rows_by_method))      # means with intervals over people

Figures are saved a frame at a time (JSON lines) and tables are made of what was saved, so nothing is drawn again for
another table. Lower is better for APD, AED, NME, errors and distances; higher for PSNR, SSIM and CSIM; sharpness is
best at 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.driving import Driver, Watched, motion_for, watch
from benchmarks.fidelity import (
    EYES,
    MOUTH,
    aperture_error,
    cosine_similarity,
    expression_error,
    gaze_error,
    landmark_error,
    mean_measure,
    ms_ssim,
    network_distance,
    pose_error,
    psnr,
    ratio_measure,
    region_of,
    sharpness_ratio,
    ssim,
)
from benchmarks.identity_probe import Embed
from detect.metrics import Measure
from forge.motion.features import Motion
from forge.portrait import ForgeError
from media.faces import FaceFinder
from media.landmarks import FaceObservation
from provenance.files import write_whole

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]
Row = dict[str, float | str]

YAW_BINS = ((0.0, 10.0), (10.0, 20.0), (20.0, 90.0))
"""Degrees of absolute yaw of the true head."""
PSNR_CEILING = 60.0
"""Equal pictures have an infinite PSNR, which no mean survives: figures above this are saved as this."""
PIXEL_FIGURES = (
    "psnr", "psnr_face", "psnr_eyes", "psnr_lips", "ssim", "ssim_face", "ms_ssim", "distance_self", "sharp_eyes",
    "sharp_mouth",
)  # fmt: skip
CEILING = "truth, JPEG 90"
CSIM_FRAMES = 5
"""Of each series, evenly spread: the embedding costs as much as everything else together."""
LARGEST_SHEET = 500_000
"""Bytes of a contact sheet."""
MOTION_FIGURES = ("apd", "aed", "aed_mouth", "aed_eyes", "nme", "aperture", "gaze", "csim")
HEADINGS: Mapping[str, str] = {
    "psnr": "PSNR dB", "psnr_face": "PSNR face dB",
    "psnr_eyes": "PSNR eyes dB",
    "psnr_lips": "PSNR lips dB", "ssim": "SSIM", "ssim_face": "SSIM face", "ms_ssim": "MS-SSIM",
    "distance_self": "LPIPS-like (self)", "sharp_eyes": "sharpness eyes", "sharp_mouth": "sharpness mouth",
    "apd": "APD deg", "aed": "AED", "aed_mouth": "AED mouth", "aed_eyes": "AED eyes", "nme": "NME %",
    "aperture": "lip aperture error", "gaze": "gaze error deg", "csim": "CSIM", "found": "face found",
}  # fmt: skip


@dataclass(frozen=True)
class Judges:
    """The networks that judge; each trained nothing here. A str says why one is missing."""

    embed: Embed | str
    features: Callable[[UInt8Array], Sequence[FloatArray]] | str


@dataclass(frozen=True)
class Bench:
    """What all parts of the evaluation share."""

    finder: FaceFinder
    judges: Judges
    drivers: Mapping[str, Driver]
    out: Path
    size: int
    frames: int
    say: Callable[[str], None]

    def folder(self, part: str, method: str) -> Path:
        """Where the figures of a method are kept: other weights, sizes or lengths have another folder."""
        mark = self.drivers[method].fingerprint if method in self.drivers else "truth"
        return self.out / "figures" / part / re.sub(r"\W+", "_", f"{method} {mark} {self.size} {self.frames}")

    @property
    def missing(self) -> dict[str, str]:
        """Figures that cannot be had, and why."""
        parts = {"csim": self.judges.embed, "distance_self": self.judges.features}
        return {name: judge for name, judge in parts.items() if isinstance(judge, str)}


def open_judge(weights: Path | None) -> Callable[[UInt8Array], Sequence[FloatArray]] | str:
    """The layers of the judging RenderNet, or why there are none.

    It must not be the network that training took its losses from: a network that trained something never judges it.
    """
    if weights is None:
        return "unscored: give --judge, weights of a RenderNet that trained nothing"
    import torch

    from forge.face.stored import load_render_net

    try:
        net = load_render_net(weights)
    except (ForgeError, OSError) as error:
        return f"unscored: {error}"
    if net.recipe.name != "render_net_judge":
        return f"unscored: {weights} is {net.recipe.name}, which may have given training its losses"

    def features(image: UInt8Array) -> list[FloatArray]:
        with torch.inference_mode():
            layers = net.features(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
        return [np.asarray(layer[0].numpy(), np.float32) for layer in layers]

    return features


@dataclass(frozen=True, eq=False)
class Leader:
    """A filmed face."""

    frames: tuple[UInt8Array, ...]
    """N frames (S, S, 3)."""
    watched: Watched
    """What the landmarker saw in them."""
    portrait: UInt8Array
    """(S, S, 3) of the same person: zero of the motion."""
    face: FaceObservation
    """Of that portrait."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What is true of a series of frames: the portrait and the targets that were to be drawn."""

    name: str
    person: str
    portrait: UInt8Array
    """(S, S, 3)."""
    face: FaceObservation
    """Of the portrait."""
    leader: Leader
    """Whom it is to follow."""
    angles: Array
    """(N, 3) degrees that the drawn heads should have."""
    blendshapes: FloatArray
    """(N, 51) that they should have."""
    targets: tuple[UInt8Array, ...] | None = None
    """N true frames, where they are known."""
    watched: Watched | None = None
    """What the landmarker saw in them."""

    def motion_for(self, driver: Driver) -> Motion:
        """(N) what a method is told to do."""
        leader = self.leader
        return motion_for(driver, leader.watched, leader.face, leader.frames, leader.portrait)


def judge_frames(shown: Shown, drawn: Sequence[UInt8Array], seen: Watched, judges: Judges) -> list[Row]:
    """Figures of every drawn frame.

    Args:
        shown: what was to be drawn, N frames.
        drawn: N frames (S, S, 3).
        seen: what the landmarker saw in them.
        judges: networks for identity and likeness.
    """
    if not len(drawn) == len(seen.poses) == len(shown.angles):
        raise ValueError(f"{shown.name}: {len(drawn)} frames were drawn of {len(shown.angles)} asked for")
    angles = pose_error(shown.angles, seen.angles)
    aed, aed_mouth, aed_eyes = (
        expression_error(shown.blendshapes, seen.blendshapes, columns) for columns in (None, MOUTH, EYES)
    )
    gaze = gaze_error(shown.blendshapes, seen.blendshapes)
    csim = similarities(shown, drawn, seen, judges.embed)
    rows: list[Row] = []
    for i, frame in enumerate(drawn):
        row: Row = {
            "clip": shown.name, "person": shown.person, "frame": i, "yaw": float(shown.angles[i, 0]),
            "found": float(seen.found[i]), "apd": float(angles[i].mean()), "apd_yaw": float(angles[i, 0]),
            "apd_pitch": float(angles[i, 1]), "apd_roll": float(angles[i, 2]), "aed": float(aed[i]),
            "aed_mouth": float(aed_mouth[i]), "aed_eyes": float(aed_eyes[i]), "gaze": float(gaze[i]),
            "csim": float(csim[i]),
        }  # fmt: skip
        if shown.targets is not None and shown.watched is not None:
            row |= likeness(shown.targets[i], frame, shown.watched.landmarks[i], seen.landmarks[i], judges)
        rows.append(row)
    return rows


def similarities(shown: Shown, drawn: Sequence[UInt8Array], seen: Watched, embed: Embed | str) -> Array:
    """(N,) CSIM of drawn frames to the portrait; NaN without a face or the embedding, and for frames in between."""
    found = np.full(len(drawn), nan)
    if isinstance(embed, str):
        return found
    own = embed(shown.portrait, shown.face.landmarks)
    for i in np.unique(np.linspace(0, len(drawn) - 1, CSIM_FRAMES).round().astype(int)):
        if seen.found[i]:
            found[i] = cosine_similarity(embed(drawn[i], seen.landmarks[i]), own)
    return found


def likeness(truth: UInt8Array, drawn: UInt8Array, there: FloatArray, here: FloatArray, judges: Judges) -> Row:
    """Figures of one drawn frame against its true one, given both faces' landmarks (NaN when none was found)."""
    shape = (truth.shape[0], truth.shape[1])
    face = region_of(there, "face", shape)
    row: Row = {
        "psnr": min(psnr(truth, drawn), PSNR_CEILING),
        "psnr_face": min(psnr(truth, drawn, face), PSNR_CEILING),
        "psnr_eyes": min(psnr(truth, drawn, region_of(there, "eye_area", shape)), PSNR_CEILING),
        "psnr_lips": min(psnr(truth, drawn, region_of(there, "lip_area", shape)), PSNR_CEILING),
        "ssim": ssim(truth, drawn),
        "ssim_face": ssim(truth, drawn, face),
        "ms_ssim": ms_ssim(truth, drawn) if min(shape) >= 176 else nan,
        "distance_self": nan if isinstance(judges.features, str) else network_distance(judges.features, truth, drawn),
    }
    if np.isfinite(here).all():
        row |= {"nme": 100 * landmark_error(there, here), "aperture": aperture_error(there, here)}
        for region in ("eyes", "mouth"):
            masks = region_of(there, region, shape), region_of(here, region, shape)
            row[f"sharp_{region}"] = sharpness_ratio(truth, drawn, *masks)
    return row


def stored_again(shown: Shown) -> Iterator[UInt8Array]:
    """The true frames through JPEG at quality 90."""
    for frame in shown.targets or ():
        done, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        if not done:
            raise ForgeError(f"{shown.name}: a frame cannot be stored as JPEG")
        yield np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def judged(bench: Bench, part: str, method: str, shown: Shown) -> list[Row]:
    """Figures of one method on one series, from an earlier run where they are at hand."""
    folder = bench.folder(part, method)
    path = folder / f"{shown.name}.jsonl"
    if path.is_file():
        return load_rows(path)
    if method == CEILING:
        drawn = list(stored_again(shown))
    else:
        driver = bench.drivers[method]
        drawn = list(driver.fit(shown.portrait, shown.face).draws(shown.motion_for(driver)))
    seen = watch(bench.finder, drawn, shown.watched)
    rows = judge_frames(shown, drawn, seen, bench.judges)
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path.with_suffix(".png")), strip(shown.portrait, drawn, method)[..., ::-1])
    if shown.targets is not None:
        cv2.imwrite(str(folder / f"{shown.name}_truth.png"), strip(shown.portrait, shown.targets, "truth")[..., ::-1])
    save_rows(rows, path)
    return rows


def strip(
    portrait: UInt8Array, frames: Sequence[UInt8Array], label: str, columns: int = 6, side: int = 160
) -> UInt8Array:
    """Portrait, with a label on it, and evenly spread frames in a row, a white gap between them."""
    chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, columns).round().astype(int)]
    small = [cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in (portrait, *chosen)]
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(small[0], label, (5, side - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, width, cv2.LINE_AA)
    gap = np.full((side, 6, 3), 255, np.uint8)
    return np.asarray(np.hstack([small[0], gap, *small[1:]]), np.uint8)


def save_sheet(strips: Sequence[Path], path: Path) -> None:
    """Strips below each other as one JPEG of at most `LARGEST_SHEET` bytes."""
    rows = [cv2.imread(str(strip_path)) for strip_path in strips if strip_path.is_file()]
    if not rows:
        return
    sheet = np.vstack([np.asarray(row) for row in rows])
    for quality in (90, 84, 76, 66, 50, 35, 20):
        done, data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done and len(data) <= LARGEST_SHEET:
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.asarray(data).tobytes())


def save_rows(rows: Sequence[Row], path: Path) -> None:
    """Write figures as JSON lines; NaN becomes null."""
    plain = [{k: None if isinstance(v, float) and not isfinite(v) else v for k, v in row.items()} for row in rows]
    write_whole(path, ("\n".join(json.dumps(row) for row in plain) + "\n").encode())


def load_rows(path: Path) -> list[Row]:
    """Read what `save_rows` wrote; null becomes NaN."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [{k: nan if v is None else v for k, v in json.loads(line).items()} for line in lines if line]


def column(rows: Sequence[Row], name: str) -> Array:
    """(N,) a figure of all rows; NaN where a row has none."""
    return np.array([float(row.get(name, nan)) for row in rows], np.float64)


def people_of(rows: Sequence[Row]) -> list[str]:
    """(N,) whose frame each row is."""
    return [str(row["person"]) for row in rows]


def with_interval(measure: Measure) -> str:
    """A figure and its interval as text, or why there is none."""
    if not measure.scored:
        return measure.reason
    if not (isfinite(measure.low) and isfinite(measure.high)):
        return f"{measure.value:.3g}"
    return f"{measure.value:.3g} ({measure.low:.3g} to {measure.high:.3g})"


def figure(rows: Sequence[Row], name: str, missing: Mapping[str, str] | None = None) -> Measure:
    """Mean of a saved figure over frames, interval by drawing people; unscored with the reason of that figure."""
    reason = (missing or {}).get(name, "unscored: nothing measured")
    return mean_measure(column(rows, name), people_of(rows), reason=reason)


def method_table(
    rows_by_method: Mapping[str, Sequence[Row]], names: Sequence[str], missing: Mapping[str, str] | None = None
) -> tuple[dict[str, object], ...]:
    """One row a method, one column a figure, each with its interval."""
    table = []
    for method, rows in rows_by_method.items():
        shown: dict[str, object] = {"method": method, "people": len(set(people_of(rows))), "frames": len(rows)}
        shown |= {HEADINGS[name]: with_interval(figure(rows, name, missing)) for name in names}
        table.append(shown)
    return tuple(table)


def yaw_table(rows_by_method: Mapping[str, Sequence[Row]], names: Sequence[str]) -> tuple[dict[str, object], ...]:
    """The same by absolute yaw of the true head."""
    table = []
    for low, high in YAW_BINS:
        for method, rows in rows_by_method.items():
            inside = [row for row in rows if low <= abs(float(row["yaw"])) < high]
            if not inside:
                continue
            shown: dict[str, object] = {"yaw": f"{low:g} to {high:g}", "method": method, "frames": len(inside)}
            shown |= {HEADINGS[name]: with_interval(figure(inside, name)) for name in names}
            table.append(shown)
    return tuple(table)


def against(
    rows_by_method: Mapping[str, Sequence[Row]], baseline: str, names: Sequence[str]
) -> tuple[dict[str, object], ...]:
    """Every method's figures over the baseline's on the same frames: below 1 is a smaller error."""
    base = {(row["clip"], row["frame"]): row for row in rows_by_method.get(baseline, ())}
    table = []
    for method, rows in rows_by_method.items():
        shared = [row for row in rows if (row["clip"], row["frame"]) in base]
        if method == baseline or not shared:
            continue
        others = [base[row["clip"], row["frame"]] for row in shared]
        shown: dict[str, object] = {"method": f"{method} / {baseline}", "frames": len(shared)}
        for name in names:
            measure = ratio_measure(
                column(shared, name), column(others, name), people_of(shared), reason="nothing shared"
            )
            shown[HEADINGS[name]] = with_interval(measure)
        table.append(shown)
    return tuple(table)
