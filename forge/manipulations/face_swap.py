"""Maker `face_swap`: another person's face worn by the one in the clip, by landmarks and without a network.

How a frame is made:
    1. which frame of the donor is worn: the nearest in pose and expression, changed as rarely as pays (`choose`)
    2. its skin is drawn through the mesh onto the target's landmarks, 478 of them (`skin.skin_flow`)
    3. colours are matched in Lab, by statistics of the skin that are smoothed over time
    4. the border is made to vanish by a membrane (`blending.membrane`), what remains is feathered
    5. mouth and eyes stay the target's own: blinks, looks and teeth are those of the moment

The classical swap of FaceForensics++ (Roessler et al., ICCV 2019), written anew for whole clips. The shape of the head,
its hair and its glasses' sides remain the target's: the mask ends above the brows, and beside the hair of both people
as it hangs in the middle of the clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from forge.manipulations.blending import Patch, blurred, colours_of, membrane, mixed, recoloured
from forge.manipulations.scene import BoolArray, Cast, Drawn, Forgery, Scene
from forge.manipulations.skin import skin_flow, vertices
from forge.manipulations.steady import Steady
from forge.mesh.curves import outline_of, soft_mask
from forge.portrait import ForgeError
from media.landmarks import BLENDSHAPE_INDEX, FACE_OVAL, LEFT_EYE, LIPS_INNER, RIGHT_EYE

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]
Rng = np.random.Generator

VERSION = 2
"""Raised when the same scene, cast and chance would give other pixels."""
FOREHEAD = {10: 151, 109: 108, 67: 69, 103: 104, 54: 68, 21: 71, 338: 337, 297: 299, 332: 333, 284: 298, 251: 301}
"""Landmark of the face outline at the hairline -> the one below it on the forehead: fringes hang down to there."""
BROWS = {10: 9, 109: 107, 67: 66, 103: 105, 338: 336, 297: 296, 332: 334}
"""Of these the landmark on or between the brows: fringes hang here. The others lie at the temples, where the outline
stays as it is."""
LOWER_ENDS = (0.0, -0.3)
FEATHERS = (0.012, 0.04)
BORDER = 2.5
"""Feathers from the mask's end to where its border is past: a border that reaches the brows shows those of both people,
cut off or twice."""
SIDES = (54, 21, 162, 127, 234, 93, 284, 251, 389, 356, 454, 323)
"""Landmarks of the face outline over which long hair hangs."""
INWARDS = (1.0, 0.94, 0.88, 0.82, 0.76)
"""Parts of the way from the middle of the face to its outline at which the mask may end beside hair."""
CHEEKS = (50, 280, 205, 425, 101, 330)
DARK, MOST_DARK = 0.7, 1
"""Below this part of the cheeks' lightness a place is hair; at so many of seven places a shadow is forgiven."""
OPENINGS = (LIPS_INNER, RIGHT_EYE, LEFT_EYE)
CANDIDATES = 48
"""Frames of the donor that are considered."""
DEGREES = 12.0
"""A head turned this much further is as far away as a mouth opened by `SHAPE`."""
SHAPE = 0.3
SHAPES = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "mouthPucker", "browInnerUp", "browDownLeft", "browDownRight")
CHANGE_COST = 1.5
"""What a change of the donor's frame costs, in squared distances of one frame."""
GAINS = np.array([[0.6, 0.8, 0.8], [1.5, 1.2, 1.2]])
"""Least and most by which contrast (L) and colourfulness (a, b) are changed: more makes lips purple."""
FADE_SECONDS = 0.12
"""How long one frame of the donor fades into the next."""
COLOUR_SECONDS = 0.25
"""Standard deviation of the smoothing of colour statistics."""


@dataclass(frozen=True)
class Settings:
    """What is drawn by lot for a clip."""

    colour: float
    """How far the donor's colours go towards the target's."""
    seam: float
    """How far the border is made to vanish."""
    feather: float
    """Sigma of the border in parts of the face's height."""
    forehead: float
    """Where the mask ends above: 0 in the middle of the forehead, 1 at the hairline, about -1 at the brows."""
    kept: tuple[float, ...] = (1.0,) * len(FACE_OVAL)
    """How far towards each landmark of the outline it reaches; not drawn, but found where hair is."""

    @classmethod
    def draw(cls, rng: Rng) -> Settings:
        """From a careful swap to a hasty one."""
        return cls(
            colour=round(float(rng.uniform(0.8, 1.0)), 3),
            seam=round(float(rng.uniform(0.55, 1.0)), 3),
            feather=round(float(np.exp(rng.uniform(*np.log(FEATHERS)))), 4),
            forehead=round(float(rng.uniform(0.0, 0.5)), 3),
        )


class FaceSwap:
    """The maker; it loads nothing."""

    def forge(self, scene: Scene, cast: Cast, rng: Rng) -> Forgery:
        """Put the donor's face on.

        Raises:
            ForgeError: when there is no donor, or a face is missing or tiny.
        """
        if cast.donor is None:
            raise ForgeError("a face swap needs a donor; give another person's clip")
        try:
            worn = Steady.of(cast.donor)
        except ForgeError as error:
            raise ForgeError(f"the donor: {error}") from error
        swap = Swap.prepared(scene, Steady.of(scene), cast.donor, worn, Settings.draw(rng))

        def masks() -> Iterator[BoolArray]:
            return (swap.mask(index) for index in range(scene.length))

        return Forgery(
            Drawn(scene.length, swap.draw),
            scene.sound,
            masks,
            scene.segments(swap.track.seen_T, "picture"),
            facts={
                "forged": "picture",
                "donor_frames": len(set(swap.chosen_T.tolist())),
                "colour": swap.settings.colour,
                "seam": swap.settings.seam,
                "feather": swap.settings.feather,
                "forehead": swap.settings.forehead,
            },
        )

    def close(self) -> None:
        """Nothing was loaded."""


@dataclass(frozen=True, eq=False)
class Tint:
    """Lab statistics of the skin of a clip."""

    mean_T3: Array
    spread_T3: Array


@dataclass(frozen=True, eq=False)
class Swap:
    """One clip's swap, frame by frame."""

    scene: Scene
    track: Steady
    donor: Scene
    worn: Steady
    settings: Settings
    chosen_T: NDArray[np.int64]
    """(T,) the donor's frame that is worn."""
    tint: Tint
    donor_tint: Tint

    @classmethod
    def prepared(cls, scene: Scene, track: Steady, donor: Scene, worn: Steady, settings: Settings) -> Swap:
        """Choose the donor's frames and measure the colours of both."""
        chosen = choose(track, worn, sharpness_of(donor, worn), CHANGE_COST)
        middle = int(np.flatnonzero(track.seen_T)[track.seen_T.sum() // 2])
        both = [(scene, track, middle), (donor, worn, int(chosen[middle]))]
        settings = beside_hair(below_hair(settings, both), both)
        smooth = COLOUR_SECONDS * float(scene.fps)
        tint = tint_of(scene, track, settings, np.flatnonzero(track.seen_T), smooth)
        return cls(
            scene, track, donor, worn, settings, chosen, tint, tint_of(donor, worn, settings, np.unique(chosen), 0)
        )

    def draw(self, index: int) -> UInt8Array:
        """The forged frame of a number."""
        frame = self.scene.frame(index)
        if not self.track.seen_T[index]:
            return frame
        points = self.track.points_TK3[index]
        patch = self._patch(index)
        image, weight = patch.of(frame), face_weights(points, patch, self.settings)
        target = vertices(points, patch)
        worn = np.zeros_like(image)
        for number, share in self._faded(index):
            worn += np.float32(share) * self._dressed(number, index, patch, target)
        tall = float(self.track.heights_T[index])
        worn += np.float32(self.settings.seam) * membrane(image, worn, weight, 0.04 * tall)
        return patch.put(frame, mixed(image, worn, with_openings(weight, points, patch, tall)))

    def mask(self, index: int) -> BoolArray:
        """(S, S) where the frame of a number is forged."""
        if not self.track.seen_T[index]:
            return np.zeros((self.scene.size, self.scene.size), bool)
        points, patch = self.track.points_TK3[index], self._patch(index)
        weight = face_weights(points, patch, self.settings)
        return patch.mask(with_openings(weight, points, patch, float(self.track.heights_T[index])), self.scene.size)

    def _patch(self, index: int) -> Patch:
        return Patch.around(self.track.points_TK3[index], 0.12 * float(self.track.heights_T[index]), self.scene.size)

    def _dressed(self, number: int, index: int, patch: Patch, target_V3: Array) -> FloatArray:
        """(h, w, 3) a donor's frame on the target's landmarks, in the target's colours."""
        points = self.worn.points_TK3[number]
        source = Patch.around(points, 0.15 * float(self.worn.heights_T[number]), self.donor.size)
        xy = skin_flow(patch, target_V3, vertices(points, source))
        picture = self.donor.frame(number)[source.y0 : source.y1, source.x0 : source.x1]
        warped = cv2.remap(picture, xy[..., 0], xy[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        mean, spread = self.donor_tint.mean_T3[number], self.donor_tint.spread_T3[number]
        share = self.settings.colour
        gain = np.clip(self.tint.spread_T3[index] / np.maximum(spread, 1e-3), *GAINS) ** share
        wanted = mean + share * (self.tint.mean_T3[index] - mean)
        return recoloured(np.asarray(warped, np.float32), gain, mean, wanted)

    def _faded(self, index: int) -> list[tuple[int, float]]:
        """The donor's frames that are seen at a moment, and their shares."""
        reach = max(0, round(FADE_SECONDS * float(self.scene.fps) / 2))
        around = self.chosen_T[max(0, index - reach) : index + reach + 1]
        numbers, counts = np.unique(around, return_counts=True)
        return [(int(number), float(count) / len(around)) for number, count in zip(numbers, counts, strict=True)]


def choose(track: Steady, worn: Steady, sharpness_T: Array, change_cost: float) -> NDArray[np.int64]:
    """(T,) which frame of the donor each frame wears: nearest in pose and expression, with a price on every change.

    The cheapest sequence of all is found (Viterbi), so a face that wavers between two poses does not make the donor
    jump to and fro.
    """
    seen = np.flatnonzero(worn.seen_T)
    candidates = seen[np.unique(np.linspace(0, len(seen) - 1, CANDIDATES).round().astype(int))]
    own, other = _features(track), _features(worn)[candidates]
    cost_TC = ((own[:, None] - other[None]) ** 2).sum(axis=-1)
    columns = [BLENDSHAPE_INDEX["eyeBlinkLeft"], BLENDSHAPE_INDEX["eyeBlinkRight"]]
    # lids that are down in the donor cannot be drawn up again
    cost_TC = cost_TC + 6.0 * np.clip(worn.shapes_TB[candidates][:, columns].mean(axis=1) - 0.35, 0, None)[None]
    cost_TC = cost_TC + 0.8 * (1 - sharpness_T[candidates] / sharpness_T[candidates].max())[None]
    total = cost_TC[0]
    came_from = np.zeros(cost_TC.shape, np.int64)
    stay = np.arange(len(candidates))
    for t in range(1, len(cost_TC)):
        best = int(np.argmin(total))
        changes = total > total[best] + change_cost
        came_from[t] = np.where(changes, best, stay)
        total = np.where(changes, total[best] + change_cost, total) + cost_TC[t]
    path = [int(np.argmin(total))]
    for t in range(len(cost_TC) - 1, 0, -1):
        path.append(int(came_from[t, path[-1]]))
    return np.asarray(candidates[path[::-1]], np.int64)


def _features(track: Steady) -> Array:
    """(T, F) pose, and expression against what is usual for this person."""
    shapes = track.shapes_TB[:, [BLENDSHAPE_INDEX[name] for name in SHAPES]]
    usual = np.median(shapes[track.seen_T], axis=0)
    return np.concatenate([track.angles_T3[:, :2] / DEGREES, (shapes - usual) / SHAPE], axis=1)


def sharpness_of(scene: Scene, track: Steady) -> Array:
    """(T,) how much fine detail each frame's face has; a head in quick motion has little."""
    out = np.full(scene.length, 1e-3)
    for index in np.flatnonzero(track.seen_T).tolist():
        patch = Patch.around(track.points_TK3[index], 0, scene.size)
        grey = cv2.cvtColor(scene.frame(index)[patch.y0 : patch.y1, patch.x0 : patch.x1], cv2.COLOR_RGB2GRAY)
        out[index] = float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean()) + 1e-3
    return out


def tint_of(scene: Scene, track: Steady, settings: Settings, frames: NDArray[np.int64], smooth: float) -> Tint:
    """Lab statistics of the skin of some frames, smoothed over so many frames; others repeat the nearest."""
    mean, spread = [], []
    for index in frames.tolist():
        points = track.points_TK3[index]
        patch = Patch.around(points, 0.12 * float(track.heights_T[index]), scene.size)
        weight = with_openings(face_weights(points, patch, settings), points, patch, float(track.heights_T[index]))
        half = (max(2, patch.width // 2), max(2, patch.height // 2))
        small = cv2.resize(patch.of(scene.frame(index)), half, interpolation=cv2.INTER_AREA)
        weight = np.asarray(cv2.resize(weight, half, interpolation=cv2.INTER_AREA), np.float32)
        found = colours_of(np.asarray(small, np.float32), weight)
        mean.append(found[0])
        spread.append(found[1])
    nearest = np.abs(np.arange(scene.length)[:, None] - frames[None]).argmin(axis=1)
    curves = [np.stack(rows)[nearest] for rows in (mean, spread)]
    if smooth > 0:
        curves = [gaussian_filter1d(curve, smooth, axis=0, mode="nearest") for curve in curves]
    return Tint(curves[0], curves[1])


def below_hair(settings: Settings, faces: Sequence[tuple[Scene, Steady, int]]) -> Settings:
    """The settings with the mask's upper end as low as the fringes of both people ask for, but above the brows.

    Args:
        settings: as drawn.
        faces: the target in one of its frames, then the donor.
    """
    _, track, index = faces[0]
    points, tall = track.points_TK3[index], float(track.heights_T[index])
    found = settings
    for forehead in (settings.forehead, *(low for low in LOWER_ENDS if low < settings.forehead)):
        widest = room_above_brows(points, forehead) / (BORDER * tall)
        if widest < FEATHERS[0] and forehead < settings.forehead:
            break
        found = replace(settings, forehead=forehead, feather=min(settings.feather, max(widest, FEATHERS[0])))
        if all(_bare(scene, track, index, found) for scene, track, index in faces):
            break
    return replace(found, feather=round(found.feather, 4))


def room_above_brows(points_K3: Array, forehead: float) -> float:
    """Pixels between the brows and a mask's upper end (`Settings.forehead`), where they are fewest."""
    top, low, brow = (points_K3[list(some), :2] for some in (BROWS, [FOREHEAD[one] for one in BROWS], BROWS.values()))
    up = (top - low) / np.linalg.norm(top - low, axis=1, keepdims=True)
    return float(((low + forehead * (top - low) - brow) * up).sum(axis=1).min())


def _bare(scene: Scene, track: Steady, index: int, settings: Settings) -> bool:
    """Whether skin, as light as the cheeks, is seen along the mask's upper end and below it."""
    points = track.points_TK3[index]
    top, low = points[list(BROWS), :2], points[[FOREHEAD[one] for one in BROWS], :2]
    return bool(_dark(scene.frame(index), points, low + settings.forehead * (top - low)).sum() <= MOST_DARK)


def beside_hair(settings: Settings, faces: Sequence[tuple[Scene, Steady, int]]) -> Settings:
    """The settings with the mask's sides as far in as the hair of both people hangs over their temples and cheeks."""
    kept = np.ones(len(FACE_OVAL))
    is_side = np.isin(FACE_OVAL, SIDES)
    for scene, track, index in faces:
        frame, points = scene.frame(index), track.points_TK3[index]
        outline = _outline(points, settings)
        centre = outline.mean(axis=0)
        dark = [_dark(frame, points, centre + part * (outline - centre)) for part in INWARDS]
        dark[-1][:] = False  # a side in the shade is no hair: there is an end to it
        kept = np.minimum(kept, np.where(is_side, np.array(INWARDS)[np.argmin(dark, axis=0)], 1.0))
    # without corners
    around = (np.roll(kept, 1) + 2 * kept + np.roll(kept, -1)) / 4
    return replace(settings, kept=tuple(np.minimum(kept, around).tolist()))


def _dark(frame: UInt8Array, points_K3: Array, xy_N2: Array) -> BoolArray:
    """(N,) whether places of a frame are darker than the skin of a face in it, whose landmarks are given."""
    smooth = cv2.blur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (3, 3))

    def light(at_N2: Array) -> Array:
        at = np.clip(np.round(at_N2), 0, len(smooth) - 1).astype(int)
        return np.asarray(smooth[at[:, 1], at[:, 0]], np.float64)

    return np.asarray(light(xy_N2) < DARK * float(np.median(light(points_K3[list(CHEEKS), :2]))), bool)


def _outline(points_K3: Array, settings: Settings) -> Array:
    """(N, 2) the outline of a face up to where the mask ends above."""
    outline = points_K3[list(FACE_OVAL), :2].copy()
    for place, landmark in enumerate(FACE_OVAL):
        if landmark in FOREHEAD:
            low = points_K3[FOREHEAD[landmark], :2]
            outline[place] = low + settings.forehead * (outline[place] - low)
    return np.asarray(outline)


def face_weights(points_K3: Array, patch: Patch, settings: Settings) -> FloatArray:
    """(h, w) the mask of a face: from the forehead to the chin, within its outline, feathered inwards."""
    outline = _outline(points_K3, settings)
    tall = float(np.linalg.norm(points_K3[10, :2] - points_K3[152, :2]))
    sigma = settings.feather * tall
    centre = outline.mean(axis=0)
    reach = np.linalg.norm(outline - centre, axis=1, keepdims=True)
    kept = np.array(settings.kept)[:, None] * np.clip(1 - 2 * sigma / np.maximum(reach, 1e-6), 0.3, 1)
    outline = centre + (outline - centre) * kept
    return np.asarray(np.clip(blurred(soft_mask(outline, patch.box), max(sigma, 0.6)), 0, 1), np.float32)


def with_openings(weight: FloatArray, points_K3: Array, patch: Patch, tall: float) -> FloatArray:
    """The mask of a face without what is seen between its lips and lids."""
    out = weight
    for ring in OPENINGS:
        out = out * (1 - soft_mask(outline_of(points_K3, ring), patch.box, softness=max(0.004 * tall, 0.4)))
    return np.asarray(out, np.float32)
