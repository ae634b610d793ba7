"""What a person may ask of a face: gaze, distance, emotion, liveliness, and the seed.

    controls = Controls.parse(gaze="10,-5", emotion="happy:0.6", seed=7)
    controls.emotion, controls.emotion_strength    # ("happy", 0.6)

Every field has a range and a constructor that refuses anything else in one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from types import MappingProxyType

BASELINE, DIFFUSION = "baseline", "diffusion"
DEFAULT_MOTION = BASELINE
"""The source of motion (`motion.sources`) when nobody says; here, because a command's help loads nothing heavy."""

NEUTRAL = "neutral"

_SIDES = ("Left", "Right")


def _both(**values: float) -> dict[str, float]:
    """The left and right coefficient of each paired name."""
    return {name + side: value for name, value in values.items() for side in _SIDES}


EMOTIONS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        NEUTRAL: {},
        "happy": {**_both(mouthSmile=0.55, cheekSquint=0.45, eyeSquint=0.20, mouthDimple=0.15), "browInnerUp": 0.05},
        "sad": {
            **_both(mouthFrown=0.50, eyeSquint=0.15, eyeBlink=0.10, mouthStretch=0.10),
            "browInnerUp": 0.65,
            "mouthShrugLower": 0.25,
        },
        "angry": _both(browDown=0.95, noseSneer=0.40, eyeSquint=0.30, mouthPress=0.20, mouthFrown=0.35),
        "surprised": {**_both(browOuterUp=0.70, eyeWide=0.55), "browInnerUp": 0.65, "jawOpen": 0.12},
        "disgusted": {
            **_both(noseSneer=0.70, browDown=0.45, cheekSquint=0.35, mouthUpperUp=0.25, mouthFrown=0.25),
            "mouthShrugLower": 0.15,
        },
        "fearful": {**_both(eyeWide=0.50, mouthStretch=0.40, browOuterUp=0.20), "browInnerUp": 0.75, "jawOpen": 0.06},
        "contempt": {
            "mouthSmileLeft": 0.50,
            "mouthDimpleLeft": 0.45,
            "cheekSquintLeft": 0.20,
            "eyeSquintLeft": 0.20,
            "eyeSquintRight": 0.15,
            "browDownRight": 0.15,
        },
    }
)
"""Offsets of the coefficients at strength 1. Those that part the lips yield to a closure in `motion.speech`."""

LIP_PARTING: frozenset[str] = frozenset(
    {"jawOpen", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight"}
)
"""Coefficients that open the lips: an emotion may not use them while the lips must be closed."""

RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "gaze_yaw_degrees": (-30.0, 30.0),
        "gaze_pitch_degrees": (-20.0, 20.0),
        "distance": (0.5, 2.0),
        "emotion_strength": (0.0, 1.0),
        "head_motion": (0.0, 3.0),
        "blink_rate": (0.0, 3.0),
        "lip_gain": (0.0, 2.0),
    }
)


@dataclass(frozen=True)
class Controls:
    """Wishes for one clip; the defaults are a neutral talker who looks into the camera."""

    gaze_yaw_degrees: float = 0.0
    """Where the eyes mostly rest, from the camera direction; positive to the picture's right."""
    gaze_pitch_degrees: float = 0.0
    """The same, positive up."""
    distance: float = 1.0
    """1 = as in the picture, 2 = twice as far."""
    emotion: str = NEUTRAL
    emotion_strength: float = 0.0
    """0 nothing, 1 the full expression."""
    head_motion: float = 1.0
    """Scale of head sway; 0 keeps the head exactly as in the picture (`frozen_pose`)."""
    blink_rate: float = 1.0
    """Scale of the number of blinks; 0 none."""
    lip_gain: float = 1.0
    """Scale of mouth opening; closures stay closures."""
    seed: int = 0
    """Same speech, controls and seed: same motion, bit for bit."""

    def __post_init__(self) -> None:
        """Refuse what lies outside `RANGES`, unknown emotions and seeds that are not natural numbers."""
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or not isfinite(value) or not low <= value <= high:
                raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value}")
        if self.emotion not in EMOTIONS:
            raise ValueError(f"emotion must be one of {', '.join(EMOTIONS)}, got {self.emotion!r}")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be a whole number from 0 to 2^63 - 1, got {self.seed!r}")

    @classmethod
    def parse(
        cls,
        *,
        gaze: str | None = None,
        distance: float = 1.0,
        emotion: str | None = None,
        head_motion: float = 1.0,
        frozen_pose: bool = False,
        blink_rate: float = 1.0,
        lip_gain: float = 1.0,
        seed: int = 0,
    ) -> Controls:
        """Controls from what a person types on a command line.

        Args:
            gaze: "yaw,pitch" in degrees.
            distance: 1 = as in the picture.
            emotion: "name" (strength 0.6) or "name:strength".
            head_motion: scale of head sway.
            frozen_pose: keep the head exactly as in the picture; a head motion must not be asked for beside it.
            blink_rate: scale of the number of blinks.
            lip_gain: scale of mouth opening.
            seed: natural number.

        Raises:
            ValueError: one line that says what was expected and what came.
        """
        yaw, pitch = parse_gaze(gaze) if gaze is not None else (0.0, 0.0)
        name, strength = parse_emotion(emotion) if emotion is not None else (NEUTRAL, 0.0)
        if frozen_pose and head_motion not in (0.0, 1.0):
            raise ValueError(f"a frozen pose has no head motion: leave one of the two out, got {head_motion:g}")
        head_motion = 0.0 if frozen_pose else head_motion
        return cls(yaw, pitch, distance, name, strength, head_motion, blink_rate, lip_gain, seed)

    @property
    def frozen_pose(self) -> bool:
        """Whether the head stays exactly as in the picture, but for the distance: eyes, lids and mouth live on."""
        return self.head_motion == 0.0

    def to_json(self) -> dict[str, float | int | str]:
        """Field names and values, ready for a Record."""
        return asdict(self)

    def emotion_offsets(self) -> dict[str, float]:
        """Coefficient offsets of the emotion at its strength."""
        return {name: value * self.emotion_strength for name, value in EMOTIONS[self.emotion].items()}


def parse_gaze(text: str) -> tuple[float, float]:
    """Degrees (yaw, pitch) from "yaw,pitch".

    Raises:
        ValueError: for anything but two numbers and a comma.
    """
    parts = text.split(",")
    try:
        yaw, pitch = (float(part) for part in parts)
    except ValueError:
        raise ValueError(f'gaze must be "yaw,pitch" in degrees, for example "10,-5", got {text!r}') from None
    return yaw, pitch


def parse_emotion(text: str) -> tuple[str, float]:
    """Name and strength from "name" or "name:strength".

    Raises:
        ValueError: for an unknown name or a strength that is not a number.
    """
    name, colon, strength = text.strip().partition(":")
    name = name.strip().lower()
    if name not in EMOTIONS:
        raise ValueError(f"emotion must be one of {', '.join(EMOTIONS)}, got {name!r}")
    if not colon:
        return name, 0.0 if name == NEUTRAL else 0.6
    try:
        return name, float(strength)
    except ValueError:
        raise ValueError(f'emotion must be "name:strength", for example "happy:0.6", got {text!r}') from None
