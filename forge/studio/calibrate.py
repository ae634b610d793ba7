"""How the landmarker reads the rig: one curve for each coefficient, measured on rendered faces.

    dyn = to_landmarker(truth_B64)          # what media.faces would read off a face with these rig coefficients
    dyn = from_landmarker(read_B64)         # rig coefficients that make a face read like this

The studio's truth is in rig units (1 is the sculpted extreme of an action), what drives the product is in the
landmarker's (1 is its certainty). Every action was drawn at several strengths on several people and read by
`media.faces`; the curve of a coefficient goes through the medians. Coefficients that the landmarker hardly reads keep
their value in both directions and are listed in `Calibration.unread`. `python -m forge.studio.bake_head --calibrate`
measures anew and writes the curves and a report.

Axes: B batch, C 52 coefficients, S strengths, P people.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forge.motion.features import BLENDSHAPE_NAMES, INDEX, NAMES, Z_DYN
from forge.portrait import ForgeError
from forge.studio.head import DYNAMICS, HeadModel, consistent
from media.faces import FaceFinder
from media.landmarks import BLENDSHAPE_INDEX

Array = NDArray[np.float64]
Draw = Callable[[int, Tensor], NDArray[np.uint8]]
"""Person number and dynamics (B, 64) to pictures (B, H, W, 3) that look at the camera."""

CURVES = Path(__file__).with_name("assets") / "landmarker.json"
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
READ_RANGE, READ_CORRELATION = 0.12, 0.7
"""A coefficient counts as read when its curve spans so much and follows the truth so well."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """One increasing curve for each coefficient."""

    base_C: Tensor
    """What the landmarker reads off a relaxed face."""
    curve_CS: Tensor
    """What it reads more at each of `STRENGTHS`; the first is 0."""
    read_C: Tensor
    """bool: coefficients that it reads."""

    def __post_init__(self) -> None:
        """Refuse curves of other lengths or that fall."""
        wanted = (len(BLENDSHAPE_NAMES), len(STRENGTHS))
        if tuple(self.curve_CS.shape) != wanted:
            raise ValueError(f"curves must be {wanted}, got {tuple(self.curve_CS.shape)}")
        if (self.curve_CS.diff(dim=1) < 0).any():
            raise ValueError("curves must not fall, got one that does")

    @property
    def unread(self) -> tuple[str, ...]:
        """Names of the coefficients that the landmarker hardly reads."""
        return tuple(name for name, read in zip(BLENDSHAPE_NAMES, self.read_C.tolist(), strict=True) if not read)


@cache
def load_calibration(path: Path = CURVES) -> Calibration:
    """The curves that ship with the package.

    Raises:
        ForgeError: when the file is missing or is not a calibration.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["coefficients"]
        table = [rows[name] for name in BLENDSHAPE_NAMES]
        return Calibration(
            torch.tensor([row["base"] for row in table]),
            torch.tensor([row["curve"] for row in table]),
            torch.tensor([bool(row["read"]) for row in table]),
        )
    except (OSError, ValueError, KeyError) as error:
        raise ForgeError(
            f"{path}: not a calibration ({error}); run python -m forge.studio.bake_head --calibrate"
        ) from error


def to_landmarker(dyn_B64: Tensor, calibration: Calibration | None = None) -> Tensor:
    """Dynamics in the rig's units as the landmarker would read them; gaze and free dimensions stay.

    The `eyeLook*` are taken from the gaze first, as the geometry does.
    """
    known = load_calibration() if calibration is None else calibration
    values = consistent(dyn_B64)
    return _mapped(values, known, lambda x, curve: _interpolate(x, torch.tensor(STRENGTHS), curve), known.base_C, None)


def from_landmarker(dyn_B64: Tensor, calibration: Calibration | None = None) -> Tensor:
    """Dynamics as the landmarker reads them in the rig's units; gaze and free dimensions stay."""
    known = load_calibration() if calibration is None else calibration
    return _mapped(dyn_B64, known, lambda x, curve: _interpolate(x, curve, torch.tensor(STRENGTHS)), None, known.base_C)


def _mapped(
    dyn_B64: Tensor,
    known: Calibration,
    through: Callable[[Tensor, Tensor], Tensor],
    after_C: Tensor | None,
    before_C: Tensor | None,
) -> Tensor:
    """Send every coefficient that is read through its curve."""
    columns = []
    for c in range(len(BLENDSHAPE_NAMES)):
        value = dyn_B64[:, c]
        if bool(known.read_C[c]):
            value = value if before_C is None else value - before_C[c].to(value)
            value = through(value, known.curve_CS[c].to(value))
            value = value if after_C is None else value + after_C[c].to(value)
        columns.append(value.clamp(0, 1))
    return torch.cat([torch.stack(columns, 1), dyn_B64[:, len(BLENDSHAPE_NAMES) :]], 1)


def _interpolate(x_B: Tensor, from_S: Tensor, to_S: Tensor) -> Tensor:
    """Piecewise linear, clamped at both ends; where the curve is flat, its start."""
    from_S, to_S = from_S.to(x_B), to_S.to(x_B)
    right = torch.searchsorted(from_S.contiguous(), x_B.contiguous()).clamp(1, len(from_S) - 1)
    span = (from_S[right] - from_S[right - 1]).clamp(min=1e-6)
    share = ((x_B - from_S[right - 1]) / span).clamp(0, 1)
    return to_S[right - 1] + share * (to_S[right] - to_S[right - 1])


def drives() -> dict[str, dict[str, float]]:
    """What is drawn to read each action: name of the drive, features at strength 1. Both sides move together."""
    out: dict[str, dict[str, float]] = {}
    for name in BLENDSHAPE_NAMES:
        if name.startswith("eyeLook") or name == "tongueOut":
            continue
        if name.endswith("Left") and name not in ("jawLeft", "mouthLeft"):
            out[name.removesuffix("Left")] = {name: 1.0, name.removesuffix("Left") + "Right": 1.0}
        elif not name.endswith("Right") or name in ("jawRight", "mouthRight"):
            out[name] = {name: 1.0}
    out["mouthClose"] = {"mouthClose": 0.6, "jawOpen": 0.6}
    out["tongueOut"] = {"tongueOut": 1.0, "jawOpen": 0.4}
    out |= {"gazeRight": {"gaze_yaw": 1.0}, "gazeLeft": {"gaze_yaw": -1.0}}
    out |= {"gazeUp": {"gaze_pitch": 1.0}, "gazeDown": {"gaze_pitch": -1.0}}
    return out


def measure(draw: Draw, people: int, finder: FaceFinder) -> tuple[list[str], Array, Array]:
    """Draw every action at every strength on every person and read the pictures.

    Returns:
        names of the drives (D), the truth (D, S, 52) and the readings (D, S, P, 52), NaN where no face was found.
    """
    names, features = list(drives()), list(drives().values())
    dyn = torch.zeros(len(names), len(STRENGTHS), DYNAMICS)
    for d, values in enumerate(features):
        for name, value in values.items():
            dyn[d, :, INDEX[name] - Z_DYN.start] = value * torch.tensor(STRENGTHS)
    truth = consistent(dyn.view(-1, DYNAMICS))[:, : len(BLENDSHAPE_NAMES)].view(len(names), len(STRENGTHS), -1)
    reading = np.full((len(names), len(STRENGTHS), people, len(BLENDSHAPE_NAMES)), np.nan)
    for person in range(people):
        relaxed = draw(person, torch.zeros(1, DYNAMICS))[0]
        faces = finder.find(relaxed)
        if not faces:
            continue
        for d in range(len(names)):
            pictures = [relaxed, *draw(person, dyn[d, 1:])]
            for s, picture in enumerate(pictures):
                face = finder.measure(picture, faces[0].box)
                if face is not None:
                    reading[d, s, person] = [
                        face.blendshapes[BLENDSHAPE_INDEX[n]] if n in BLENDSHAPE_INDEX else np.nan
                        for n in BLENDSHAPE_NAMES
                    ]
    return names, truth.numpy().astype(np.float64), reading


def fit(names: list[str], truth: Array, reading: Array) -> dict[str, dict[str, object]]:
    """One row for each coefficient: base, curve, slope, correlation, whether it is read, what it also answers to."""
    return {name: _fit_one(c, names, truth, reading[..., c]) for c, name in enumerate(BLENDSHAPE_NAMES)}


def _fit_one(c: int, names: list[str], truth: Array, reading_DSP: Array) -> dict[str, object]:
    """The row of one coefficient."""
    driving = [d for d in range(len(names)) if truth[d, -1, c] > 0]
    alone = [d for d in driving if names[d] not in ("mouthClose", "tongueOut")]
    d = (alone or driving or [0])[0]
    if not driving or not np.isfinite(reading_DSP[d]).any():
        nothing: list[float] = [0.0] * len(STRENGTHS)
        return {"base": 0.0, "curve": nothing, "slope": 0.0, "r": 0.0, "read": False, "also": {}}
    rise = reading_DSP[d] - reading_DSP[d, :1]
    level = truth[d, :, c]
    # an action that is driven over a part of its range only goes on as it ended
    curve = np.maximum.accumulate(np.maximum(np.interp(STRENGTHS, level, np.nanmedian(rise, 1)), 0.0))
    good = np.isfinite(rise)
    x, y = np.broadcast_to(level[:, None], rise.shape)[good], rise[good]
    r = float(np.corrcoef(x, y)[0, 1]) if y.std() > 1e-6 else 0.0
    others = {
        names[o]: round(float(np.nanmedian(reading_DSP[o, -1] - reading_DSP[o, 0])), 3)
        for o in range(len(names))
        if truth[o, -1, c] == 0
    }
    strongest = sorted(others.items(), key=lambda item: -abs(item[1]))[:3]
    return {
        "base": round(float(np.nanmedian(reading_DSP[:, 0])), 4),
        "curve": [round(float(value), 4) for value in curve],
        "slope": round(float(np.polyfit(x, y, 1)[0]), 3),
        "r": round(r, 3),
        "read": bool(curve[-1] >= READ_RANGE and r >= READ_CORRELATION),
        "also": {name: value for name, value in strongest if abs(value) >= 0.1},
    }


def studio_draw(size: int = 192, first_person: int = 40) -> Draw:
    """The studio's people in its scenes, looking at the camera."""
    from forge.studio.studio import Studio

    studio = Studio(size)

    def draw(person: int, dyn_B64: Tensor) -> NDArray[np.uint8]:
        motion = torch.zeros(len(dyn_B64), len(NAMES))
        motion[:, INDEX["log_scale"]] = 0.15
        motion[:, Z_DYN] = dyn_B64
        take = studio.shoot(first_person + person, len(motion), person, motion_FM=motion)
        return np.ascontiguousarray(take.image_F3HW.permute(0, 2, 3, 1).numpy())

    return draw


def tracked_share(finder: FaceFinder, people: int = 8, frames: int = 8, size: int = 192) -> dict[str, float]:
    """Share of studio frames in which a face is found, yaw within 35 and pitch within 20 degrees, performing faces.

    Returns:
        frames, found over all of them, and found by |yaw| up to 15, 25 and 35 degrees.
    """
    from forge.studio.performance import pose_stills
    from forge.studio.studio import Studio

    studio, rng = Studio(size), np.random.default_rng(9)
    hits: list[tuple[float, bool]] = []
    for person in range(people):
        motion = np.array(pose_stills(person, frames), np.float32)
        motion[:, INDEX["yaw"]] = rng.uniform(-35, 35, frames)
        motion[:, INDEX["pitch"]] = rng.uniform(-20, 20, frames)
        take = studio.shoot(700 + person, frames, person, motion_FM=motion)
        pictures = take.image_F3HW.permute(0, 2, 3, 1).contiguous().numpy()
        hits += [
            (abs(float(row[0])), bool(finder.find(picture))) for row, picture in zip(motion, pictures, strict=True)
        ]
    yaw, found = np.array([hit[0] for hit in hits]), np.array([hit[1] for hit in hits])
    out = {"frames": float(len(hits)), "found": float(found.mean())}
    for low, high in ((0, 15), (15, 25), (25, 35)):
        mine = (yaw >= low) & (yaw < high)
        out[f"yaw_{low}_{high}"] = float(found[mine].mean()) if mine.any() else float("nan")
    return out


def clay_draw(head: HeadModel, size: int = 320, seed: int = 3) -> Draw:
    """Plain renders of different people, for a calibration without the studio's looks."""
    from forge.studio.bake_landmarks import SKIN_TONES
    from forge.studio.clay import draw_clay

    def draw(person: int, dyn_B64: Tensor) -> NDArray[np.uint8]:
        rng = torch.Generator().manual_seed(seed * 1000 + person)
        identity = 0.8 * torch.randn(1, head.modes, generator=rng)
        pose = torch.zeros(len(dyn_B64), 6)
        pose[:, 5] = 0.25
        return draw_clay(head, identity, dyn_B64, pose, size, skin=SKIN_TONES[person % len(SKIN_TONES)]).image_BHW3

    return draw
