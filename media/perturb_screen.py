"""A clip filmed off a screen by a camera, or taken by a screen recorder. Named and listed in `media.perturb`.

`screen` follows the light, in this order:

1. The display shows a picture until the next one; the camera's shutter is open for half of a picture's time and drifts
   against the display, so that some pictures are a mixture of two.
2. Every pixel of the display is three stripes of colour with dark gaps. The camera's pixels are about as large and a
   little turned: what its grid catches of the stripes are the coloured bands called moire.
3. The display's refresh and the camera's rows make dark bars that wander.
4. The screen reflects the room, the lens is soft, the camera stands at a small angle, its curve is another one, its
   sensor is noisy, and what it saves is H.264.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, floor, pi, radians, sin

import cv2
import numpy as np

from media.clip import Clip, FloatArray, UInt8Array
from media.perturb_codecs import h264
from media.perturb_pictures import blur, contrast, each_frame, gamma, in_range, of_256, scaled, to_bytes
from media.perturb_time import fps as at_rate

SHUTTER = 0.5
"""Part of a picture's time for which the camera's shutter is open."""
DISPLAY_GAMMA = 2.2


@dataclass(frozen=True)
class Filming:
    """How a camera stands before a screen, from the strength 1 (a tripod, a good phone) to 5 (a poor one, by hand)."""

    pitch: float
    """Pixels of the display for one of the camera."""
    turn_degrees: float
    keystone: float
    """How much narrower the picture is at its top."""
    stripes: float
    """Depth of the stripes that the camera's pixels still resolve."""
    bars: float
    """Depth of the wandering dark bars."""
    drift: float
    """Pictures by which the shutter drifts with every picture."""
    reflection: float
    """Light of the room on the screen, as part of its white."""
    curve: float
    softness: float
    """Sigma in pixels of a 256-pixel picture."""
    noise: float
    """Standard deviation of 255."""
    crf: float

    @classmethod
    def of(cls, strength: float, seed: int) -> Filming:
        """The same seed gives the same stand."""
        random = np.random.default_rng(seed)
        side = 1.0 if random.random() < 0.5 else -1.0
        return cls(
            pitch=1.0 + float(random.uniform(0.03, 0.11)) * side,
            turn_degrees=0.4 * strength * float(random.uniform(0.5, 1.0)) * side,
            keystone=0.008 * strength * float(random.uniform(0.3, 1.0)),
            stripes=0.05 * strength,
            bars=0.025 * strength,
            drift=0.006 * strength,
            reflection=0.006 * strength,
            curve=1.0 + 0.05 * strength,
            softness=0.25 + 0.12 * strength,
            noise=0.8 + 0.7 * strength,
            crf=18 + 2 * strength,
        )


def screen(clip: Clip, strength: float, seed: int) -> Clip:
    """See the module's text; length, rate and size stay."""
    filming = Filming.of(in_range("screen", strength, 0, 10), seed)
    stand = _stand(clip, filming)
    stripes = stripes_seen(clip.height, clip.width, filming)
    random = np.random.default_rng(seed + 1)
    rows = np.arange(clip.height, dtype=np.float32)[:, None, None] / clip.height
    sigma = of_256(clip, filming.softness)
    frames = np.empty_like(clip.frames)
    for number in range(clip.length):
        seen = cv2.warpPerspective(
            shuttered(clip.frames, number, filming.drift),
            stand,
            (clip.width, clip.height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        light = (np.asarray(seen, np.float32) / np.float32(255)) ** np.float32(DISPLAY_GAMMA)
        # the bars wander by 1.7 heights a second, whatever the frame rate
        phase = 2 * pi * (1.3 * rows + 1.7 * number / float(clip.fps))
        light *= stripes * (1 - np.float32(filming.bars) * (0.5 + 0.5 * np.cos(phase)))
        light = light * np.float32(1 - filming.reflection) + np.float32(filming.reflection)
        soft = np.asarray(cv2.GaussianBlur(light, (0, 0), max(sigma, 0.2)), np.float32)
        picture = np.clip(soft, 0, 1) ** np.float32(filming.curve / DISPLAY_GAMMA) * np.float32(255)
        picture += random.standard_normal(picture.shape, dtype=np.float32) * np.float32(filming.noise)
        frames[number] = to_bytes(picture)
    return h264(Clip(frames, clip.fps, clip.sound), filming.crf)


def shuttered(frames: UInt8Array, number: int, drift: float) -> FloatArray:
    """What a camera whose shutter drifts sees as its picture of a number: one picture of the display, or two mixed."""
    position = 0.3 + number * (1 + drift)
    last = len(frames) - 1
    first = min(floor(position), last)
    share = max(0.0, position - floor(position) + SHUTTER - 1) / SHUTTER
    out: FloatArray = frames[first].astype(np.float32)
    if share > 0 and first < last:
        out += (frames[first + 1].astype(np.float32) - out) * np.float32(share)
    return out


def stripes_seen(height: int, width: int, filming: Filming) -> FloatArray:
    """(height, width, 3) factors: the display's stripes as the camera's grid samples them, about 1.

    A cosine of nearly one period a pixel is all that is left of the stripes behind a pixel's aperture; sampled once a
    pixel it shows as a slow wave. Red, green and blue lie a third of a pixel apart.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    turn = radians(filming.turn_degrees)
    across = filming.pitch * (x * cos(turn) - y * sin(turn))
    down = filming.pitch * (x * sin(turn) + y * cos(turn))
    rows = 1 + 0.5 * filming.stripes * np.cos(2 * pi * down)
    channels = [rows * (1 + filming.stripes * np.cos(2 * pi * (across + shift / 3))) for shift in (-1, 0, 1)]
    return np.stack(channels, axis=-1).astype(np.float32)


def _stand(clip: Clip, filming: Filming) -> FloatArray:
    """(3, 3) from the display's picture to the camera's: turned, narrower at the top, so near that no edge is seen."""
    w, h = float(clip.width - 1), float(clip.height - 1)
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    middle = np.array([w / 2, h / 2], np.float32)
    turn = radians(filming.turn_degrees)
    rotation = np.array([[cos(turn), -sin(turn)], [sin(turn), cos(turn)]], np.float32)
    narrow = filming.keystone * w
    narrowed = corners + np.array([[narrow, 0], [-narrow, 0], [0, 0], [0, 0]], np.float32)
    nearer = 1 + 2 * filming.keystone + abs(sin(turn))
    moved = (narrowed - middle) @ rotation.T * np.float32(nearer) + middle
    return np.asarray(cv2.getPerspectiveTransform(corners, moved.astype(np.float32)), np.float32)


def screen_recorder(clip: Clip, factor: float) -> Clip:
    """As a program that records the screen gives it: another size, soft, another tone, 30 frames a second, H.264."""
    in_range("screen_recorder", factor, 0.25, 4)
    width, height = (max(2, 2 * round(side * factor / 2)) for side in (clip.width, clip.height))
    other = each_frame(clip, lambda image: scaled(image, width, height))
    toned = contrast(gamma(blur(other, 0.5), 1.1), 0.94)
    return h264(at_rate(toned, 30), 26)
