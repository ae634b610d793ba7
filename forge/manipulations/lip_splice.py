"""Maker `lip_splice`: the mouth of a real clip says something else. Head, eyes and the light of each frame stay.

How a clip is prepared:
    1. the other speech becomes motion (`motion.sources`), of which only mouth and jaw are used
    2. the face at rest is fitted once, where its lips are closed (`mesh.fit`); teeth get the colours of a frame that
       shows them
How a frame is made:
    3. the rest face with the new mouth is put where the head is in this frame, held by the nose
    4. around the mouth the frame's landmarks give way to it; farther away they stay
    5. the frame's own pixels are drawn through the moved mesh; what lay between the lips is closed over before
    6. teeth and tongue are drawn (`mesh.mouth`), and all of it is blended by a feathered mask of the lower face
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.manipulations.blending import Patch, blurred, mixed
from forge.manipulations.scene import BoolArray, Cast, Drawn, Forgery, Scene, Segment
from forge.manipulations.skin import facing, skin_flow, vertices
from forge.manipulations.sounds import fitted, in_place_of
from forge.manipulations.steady import Steady, runs_of, smoothstep
from forge.mesh.curves import box_around, fill_from, outline_of, soft_mask, through
from forge.mesh.fit import LOWER_INNER, STEADY, UPPER_INNER, Head, fit_head, similarity
from forge.mesh.mouth import UPPER_DROP, Layer, Mouth, draw_mouth, make_mouth
from forge.mesh.rig import ANCHOR_NAMES
from forge.mesh.warp import RigidPose
from forge.motion.controls import BASELINE, Controls
from forge.motion.features import INDEX, Motion
from forge.motion.sources import MotionSource
from forge.motion.visemes import MOUTH_NAMES
from forge.portrait import ForgeError
from media.landmarks import BLENDSHAPE_NAMES as MEASURED_NAMES
from media.landmarks import LIPS_INNER, LIPS_OUTER, lip_aperture

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]
Rng = np.random.Generator

VERSION = 1
"""Raised when the same scene, cast and chance would give other pixels."""
NOSE = (2, 94, 19, 1, 98, 327, 97, 326)
"""Landmarks at the base of the nose: speech hardly moves them."""
REACH = (0.62, 0.5, 0.95)
"""How far the new mouth reaches aside, up and down, in outer-eye distances from the middle of the lips ..."""
FULL, GONE = 0.6, 1.2
"""... in parts of which it is the new one alone, and the frame's own alone."""
TEETH_SHOW = 0.07
"""Lip aperture from which a frame tells the colours of teeth and tongue."""
TEETH_GAIN, FLESH_GAIN = 1.2, 1.5
"""`mesh.mouth` shades for mouths that open wide; between the lips of everyday speech its teeth come out too dark."""
BACK_LIGHT = 3.0
EDGE_ON = (0.25, 0.7)
"""Skin that faces the camera less than the first does not move, from the second on it does so freely."""
FEATHER = 0.022
"""Sigma of the mask's border in face heights."""
SEAM = 0.011
"""Width in face heights of the dark line where lips meet."""
THIN_SEAM = 0.3
"""Part of that width that is closed over even where lips are apart: landmarks lie a little beside their border."""
SEAM_SHADE = 0.5
"""How dark it is."""
SMEAR = 0.14
"""Sigma of the blur over what a head moves from frame to frame: a shutter that is open for half of the time."""
FAR_AWAY = 1e9
"""A camera so far off that nothing grows as it comes nearer."""


class LipSplice:
    """The maker; it loads nothing but the rig and the listener."""

    def forge(self, scene: Scene, cast: Cast, rng: Rng) -> Forgery:
        """Make the clip's mouth say other speech.

        Raises:
            ForgeError: without other speech, or when no face, or only a tiny one, is seen.
        """
        if cast.speech is None:
            raise ForgeError("a lip splice needs other speech; give some")
        controls = Controls(seed=int(rng.integers(2**31)), lip_gain=round(float(rng.uniform(0.9, 1.15)), 3))
        speech = fitted(cast.speech.mono(), scene.length, scene.fps)
        spoken = MotionSource(BASELINE).speak(speech, scene.fps, controls)
        motion = Motion.neutral(scene.length, scene.fps).replace(**{name: spoken[name] for name in MOUTH_NAMES})
        track = _with_mouth(Steady.of(scene), scene.size)
        splice = Splice.prepared(scene, track, motion)

        def masks() -> Iterator[BoolArray]:
            return (splice.mask(index) for index in range(scene.length))

        sound = None if scene.sound is None else in_place_of(cast.speech, scene.sound, scene.length, scene.fps)
        return Forgery(
            Drawn(scene.length, splice.draw),
            sound,
            masks,
            _segments(scene, track.seen_T),
            facts={
                "forged": "picture" if sound is None else "both",
                "region": "mouth",
                "lip_gain": controls.lip_gain,
            },
        )

    def close(self) -> None:
        """Nothing was loaded."""


def _with_mouth(track: Steady, size: int) -> Steady:
    """The track, seen only where the whole mouth lies in the frame.

    Raises:
        ForgeError: when it never does.
    """
    lips = track.points_TK3[:, list(LIPS_OUTER), :2]
    seen = track.seen_T & ((lips > 1) & (lips < size - 2)).all(axis=(1, 2))
    if not seen.any():
        raise ForgeError("the mouth never lies in the frame; choose a recording or a crop that shows it")
    return replace(track, seen_T=seen)


def _segments(scene: Scene, seen_T: BoolArray) -> tuple[Segment, ...]:
    """Picture and sound where the face is seen, the sound alone elsewhere; a silent clip has pictures only."""
    if scene.sound is None:
        return scene.segments(seen_T, "picture")
    found = [(run, "both") for run in runs_of(seen_T)] + [(run, "sound") for run in runs_of(~seen_T)]
    found.sort(key=lambda pair: int(pair[0].start))
    return tuple(
        scene.segment(int(run.start), int(run.stop), "both" if what == "both" else "sound") for run, what in found
    )


@dataclass(frozen=True, eq=False)
class Splice:
    """One clip's new mouth, frame by frame."""

    scene: Scene
    track: Steady
    motion: Motion
    """Mouth and jaw only."""
    head: Head
    """The face at rest."""
    at_rest: int
    """Number of the frame it was fitted to."""
    mouth: Mouth
    """Painted in the colours of the frame that shows most of its inside."""
    share_K: Array
    """(478,) how far each landmark is the new mouth's: 1 the lips, 0 the eyes."""
    lips_K: Array
    """(478,) 1 on the lips, 0 a little beside them: lips always move."""

    @classmethod
    def prepared(cls, scene: Scene, track: Steady, motion: Motion) -> Splice:
        """Fit the face at rest, and find its teeth."""
        seen = np.flatnonzero(track.seen_T)
        aperture = np.array([lip_aperture(points.astype(np.float32)) for points in track.points_TK3])
        turned = np.abs(track.angles_T3[:, :2]).sum(axis=1)
        at_rest = int(seen[np.argmin((aperture + turned / 400)[seen])])
        head = _fitted(track, at_rest)
        mouth = make_mouth(scene.frame(at_rest).astype(np.float32), head)
        wide = [int(t) for t in seen[np.argsort((turned / 400 - aperture)[seen], kind="stable")]]
        if aperture[wide[0]] > TEETH_SHOW:
            opened = _fitted(track, wide[0])
            mouth = _seated(make_mouth(scene.frame(wide[0]).astype(np.float32), opened), opened, head)
        return cls(scene, track, motion, head, at_rest, _lit(mouth), _shares(head), _lips(head))

    def draw(self, index: int) -> UInt8Array:
        """The forged frame of a number."""
        frame = self.scene.frame(index)
        if not self.track.seen_T[index]:
            return frame
        own, new, jaw = self._moved(index)
        patch = self._patch(own, new)
        tall = float(self.track.heights_T[index])
        skin = _sealed(frame, own, tall)
        xy = skin_flow(patch, vertices(new, patch, own), vertices(own, patch))
        part = skin[patch.y0 : patch.y1, patch.x0 : patch.x1]
        worn = np.asarray(
            cv2.remap(part, xy[..., 0], xy[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.float32
        )
        _draw_seam(worn, new[:, :2] - patch.origin, tall)
        spoken = patch.put(frame, np.asarray(worn, np.float32))
        tongue = float(self.motion.values[index, INDEX["tongueOut"]])
        draw_mouth(spoken, self.mouth, new, jaw, self._pose(index), tongue)
        part = self._smeared(patch.of(spoken), new, patch, index)
        return patch.put(frame, mixed(patch.of(frame), part, self._weights(own, new, patch)))

    def mask(self, index: int) -> BoolArray:
        """(S, S) where the frame of a number is forged."""
        if not self.track.seen_T[index]:
            return np.zeros((self.scene.size, self.scene.size), bool)
        own, new, _ = self._moved(index)
        patch = self._patch(own, new)
        return patch.mask(self._weights(own, new, patch), self.scene.size)

    def _patch(self, own_K3: Array, new_K3: Array) -> Patch:
        moved = self.share_K > 0
        points = np.concatenate([own_K3[moved], new_K3[moved]])
        return Patch.around(points, 0.3 * self.head.scale, self.scene.size)

    def _moved(self, index: int) -> tuple[Array, Array, Array]:
        """Landmarks (478, 3) of the frame, those with the new mouth, and (3,) how far its jaw drops at rest."""
        own = self.track.points_TK3[index]
        pose = self._pose(index)
        coefficients = self.motion.blendshapes[index].astype(np.float64)
        face, anchors = self.head.posed(np.clip(coefficients, 0.0, 1.3))
        placed = pose(face)
        placed[:, :2] += (own[list(NOSE)] - pose(self.head.rest)[list(NOSE)]).mean(axis=0)[:2]
        # skin that is seen edge-on stays: where a nose or a cheek hides it, moving it would tear the picture
        share = self.share_K * np.maximum(smoothstep(facing(own), *EDGE_ON), self.lips_K)
        lower = ANCHOR_NAMES.index("lower_teeth")
        return own, own + share[:, None] * (placed - own), anchors[lower] - self.head.anchors[lower]

    def _pose(self, index: int) -> RigidPose:
        """How the head of the frame at rest is turned, grown and moved to be that of another frame."""
        steady, points = list(STEADY), self.track.points_TK3
        scale, turn, shift = similarity(points[self.at_rest][steady], points[index][steady])
        return RigidPose(np.zeros(3), turn, scale, shift, FAR_AWAY, np.zeros(2), np.eye(2))

    def _smeared(self, part: FloatArray, new_K3: Array, patch: Patch, index: int) -> FloatArray:
        """The patch with its drawn mouth as blurred as a head in quick motion is."""
        near = self.track.points_TK3[[max(0, index - 1), min(index + 1, self.scene.length - 1)]]
        moved = (near[1] - near[0])[list(LIPS_OUTER), :2].mean(axis=0)
        sigma = SMEAR * float(np.linalg.norm(moved)) / 2
        if sigma < 0.3:
            return part
        inside = soft_mask(outline_of(new_K3, LIPS_INNER), patch.box, softness=sigma)
        return mixed(part, blurred(part, sigma), np.asarray(np.clip(1.5 * inside, 0, 1), np.float32))

    def _weights(self, own_K3: Array, new_K3: Array, patch: Patch) -> FloatArray:
        """(h, w) the mask of the lower face, both as it was and as it is now."""
        moved = self.share_K > 0.12
        points = np.concatenate([own_K3[moved, :2], new_K3[moved, :2]])
        hull = cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)
        tall = float(np.linalg.norm(own_K3[10, :2] - own_K3[152, :2]))
        return blurred(soft_mask(hull, patch.box), max(FEATHER * tall, 0.8))


def _fitted(track: Steady, index: int) -> Head:
    measured = dict(zip(MEASURED_NAMES, track.shapes_TB[index].tolist(), strict=True))
    return fit_head(track.points_TK3[index], measured)


def _seated(mouth: Mouth, opened: Head, head: Head) -> Mouth:
    """A mouth that was painted for one frame's head, put behind the lips of another.

    Where the teeth sit is told by closed lips; a frame that shows them well has them far apart.
    """
    growth = head.scale / opened.scale

    def seated(layer: Layer) -> Layer:
        return replace(layer, axes=head.turn[:, :2].T * (float(np.linalg.norm(layer.axes[0])) * growth))

    return replace(
        mouth,
        upper=seated(mouth.upper),
        lower=seated(mouth.lower),
        tongue=seated(mouth.tongue),
        line=head.rest[[*LOWER_INNER, *UPPER_INNER]].mean(axis=0),
        unit=head.scale,
        axes=head.turn,
    )


def _lit(mouth: Mouth) -> Mouth:
    """The mouth without teeth cut from a picture, and as bright as mouths are that a camera was pointed at.

    Teeth that were cut out of a smile end where its lips ended: under other lips they leave a dark gap. Painted ones in
    their colour do not.
    """

    def lit(layer: Layer, gain: float, back: float) -> Layer:
        colours = np.clip(layer.picture[..., :3] * np.float32(gain), 0, 250)
        # light reaches the back of a mouth by way of its flesh: back teeth are reddish, not grey
        depth = 1 - colours.mean(axis=-1, keepdims=True) / max(float(colours.mean(axis=-1).max()), 1.0)
        colours = colours + np.float32(back) * depth * mouth.dark
        return replace(layer, picture=np.concatenate([colours, layer.picture[..., 3:]], axis=-1).astype(np.float32))

    return replace(
        mouth,
        own=None,
        drop=UPPER_DROP,
        upper=lit(mouth.upper, TEETH_GAIN, BACK_LIGHT),
        lower=lit(mouth.lower, TEETH_GAIN, BACK_LIGHT),
        tongue=lit(mouth.tongue, FLESH_GAIN, 0.0),
        dark=mouth.dark * np.float32(FLESH_GAIN),
    )


def _shares(head: Head) -> Array:
    """(478,) how far each landmark is the new mouth's, by its place on the face at rest."""
    lips = [*LOWER_INNER, *UPPER_INNER]
    away = (head.rest - head.rest[lips].mean(axis=0)) @ head.turn / head.scale
    aside, up, down = REACH
    along = np.where(away[:, 1] < 0, away[:, 1] / up, away[:, 1] / down)
    share = 1 - smoothstep(np.hypot(away[:, 0] / aside, along), FULL, GONE)
    share[468:] = 0.0  # the irises
    return np.asarray(share)


def _lips(head: Head) -> Array:
    """(478,) 1 on the lips, falling to 0 beside them."""
    ring = head.rest[[*LIPS_OUTER, *LIPS_INNER]]
    apart = np.linalg.norm(head.rest[:, None] - ring[None], axis=-1).min(axis=1) / head.scale
    return np.asarray(1 - smoothstep(apart, 0.03, 0.16))


def _sealed(frame: UInt8Array, points_K3: Array, tall: float) -> FloatArray:
    """(S, S, 3) the frame with lips that go on where they part or meet.

    The dark line of closed lips must not stay on their borders when they open.
    """
    image = frame.astype(np.float32)
    outline = outline_of(points_K3, LIPS_INNER)
    box = box_around(outline, 0.12 * tall, frame.shape[0])
    x0, y0, x1, y1 = box
    if x1 - x0 < 3 or y1 - y0 < 3:  # out of the frame
        return image
    gap = np.linalg.norm((points_K3[list(LOWER_INNER)] - points_K3[list(UPPER_INNER)])[:, :2], axis=1).max() / tall
    # the borders of lips that are apart have no dark line, and may be too thin to lose any of their own
    band = 2 * SEAM * tall * max(THIN_SEAM, float(1 - smoothstep(gap, 0.015, 0.05)))
    seam = np.zeros((y1 - y0, x1 - x0), np.uint8)
    at = np.round((outline - (x0, y0)) * 16).astype(np.int32)
    cv2.polylines(seam, [at], True, 255, max(1, round(band)), cv2.LINE_AA, 4)
    inside = np.maximum(soft_mask(outline, box), seam.astype(np.float32) / np.float32(255))
    image[y0:y1, x0:x1] = fill_from(image[y0:y1, x0:x1], 1 - inside, reach=max(band, 0.8))
    return image


def _draw_seam(image: FloatArray, points_K2: Array, tall: float) -> None:
    """Draw the line where lips meet into an (h, w, 3) patch, in place; lips that part have none."""
    upper, lower = points_K2[list(UPPER_INNER)], points_K2[list(LOWER_INNER)]
    corners = points_K2[[LIPS_INNER[0], LIPS_INNER[10]]]
    middle = through(np.concatenate([corners[:1], (upper + lower) / 2, corners[1:]]))
    apart = float(np.linalg.norm(upper - lower, axis=1).max()) / tall
    half = np.array([0.0, SEAM * tall / 2])
    line = np.concatenate([middle - half, (middle + half)[::-1]])
    height, width = image.shape[:2]
    cover = soft_mask(line, (0, 0, width, height), softness=max(0.5 * SEAM * tall, 0.5))
    cover *= np.float32(SEAM_SHADE * float(1 - smoothstep(np.asarray(apart), 0.0, 0.03)))
    image *= 1 - cover[..., None]
