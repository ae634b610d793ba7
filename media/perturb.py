"""What happens to a clip between its maker and its judge: one named set for training, datasets and benchmarks.

    worse = perturb(clip, "h264", 35)            # one more H.264 generation at CRF 35
    worse = perturb(clip, "noise", 8, seed=1)    # same seed, same noise
    name, levels = SEVEN_BY_FIVE["GNC"]          # the suite of seven kinds in five levels that papers report

`PERTURBATIONS` names them all with their levels, from mild to hard. Each keeps the length, rate and size of the
clip unless its words say otherwise, and returns a new clip. Where a codec is named, the clip really passes
through that encoder and back.

How each is done: `perturb_pictures.py` single pictures, `perturb_time.py` their order, `perturb_codecs.py` encoders,
`perturb_screen.py` a screen that is filmed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from media import perturb_codecs, perturb_pictures, perturb_screen, perturb_time
from media.clip import Clip, MediaError
from media.perturb_codecs import PLATFORMS, Platform
from media.video import has_encoder

__all__ = [
    "PERTURBATIONS",
    "PLATFORMS",
    "SEVEN_BY_FIVE",
    "Level",
    "Perturbation",
    "Platform",
    "available_perturbations",
    "perturb",
]

Level = int | float | str


@dataclass(frozen=True)
class Perturbation:
    """One kind of damage."""

    levels: tuple[Level, ...]
    """The levels a benchmark walks through, mild to hard; other levels of the same kind work too."""
    what: str
    """What the level means, for tables."""
    encoder: str | None = None
    """The libav encoder it needs, when it needs one."""

    @property
    def available(self) -> bool:
        """Whether this build of libav has the encoder."""
        return self.encoder is None or has_encoder(self.encoder)


PERTURBATIONS: Mapping[str, Perturbation] = MappingProxyType(
    {
        "h264": Perturbation((18, 23, 28, 35, 40), "H.264 again, constant rate factor", "libx264"),
        "hevc": Perturbation((23, 28, 35, 40), "H.265, constant rate factor", "libx265"),
        "vp9": Perturbation((31, 40, 50, 60), "VP9, constant quality", "libvpx-vp9"),
        "av1": Perturbation((30, 40, 50, 60), "AV1 by SVT, constant rate factor", "libsvtav1"),
        "generations": Perturbation((2, 3, 5), "H.264 at CRF 26 this many times, each from the one before", "libx264"),
        "jpeg": Perturbation((90, 70, 50, 30), "every frame as JPEG of this quality"),
        "resize": Perturbation((0.75, 0.5, 0.35, 0.25), "scaled down by this factor and up again"),
        "pixelate": Perturbation((2, 3, 4, 6), "squares of one colour, side in pixels of a 256-pixel picture"),
        "chroma": Perturbation(("4:2:2", "4:2:0", "4:1:1", "4:1:0"), "colour of fewer pixels than light"),
        "blur": Perturbation((0.5, 1.0, 2.0, 3.0), "Gaussian blur, sigma in pixels of a 256-pixel picture"),
        "sharpen": Perturbation((0.5, 1.0, 2.0), "unsharp mask of this amount"),
        "noise": Perturbation((2, 5, 10, 20), "Gaussian noise, new in every frame, standard deviation of 255"),
        "blocks": Perturbation(
            (16, 32, 48, 64, 80), "so many grey squares of 1/32 of a square's side, new in every frame"
        ),
        "brightness": Perturbation((-40, -20, 20, 40), "added to all channels"),
        "contrast": Perturbation((0.6, 0.8, 1.25, 1.6), "factor about mid grey"),
        "saturation": Perturbation((0.0, 0.5, 1.5), "factor about the grey of each pixel"),
        "gamma": Perturbation((0.6, 0.8, 1.25, 1.6), "exponent on values from 0 to 1"),
        "warmth": Perturbation((-0.3, -0.15, 0.15, 0.3), "colour cast from blue to orange, light kept"),
        "tint": Perturbation((-0.3, -0.15, 0.15, 0.3), "colour cast from green to magenta, light kept"),
        "crop": Perturbation((0.95, 0.9, 0.8), "the middle part of this share of each side; the clip gets smaller"),
        "letterbox": Perturbation((1.25, 1.5, 1.78), "black bars up to this height over width; the clip gets larger"),
        "text": Perturbation((0.04, 0.07, 0.1), "caption and name, letters of this share of the height"),
        "fps": Perturbation((20, 15, 12, 10), "frames a second, by dropping or repeating; changes rate and length"),
        "freeze": Perturbation((0.05, 0.1, 0.2, 0.4), "share of frames that were lost and show the one before"),
        "drop": Perturbation((0.05, 0.1, 0.2, 0.4), "share of frames taken out, the rest moves up; changes the length"),
        "duplicate": Perturbation((0.05, 0.1, 0.2, 0.4), "share of frames shown twice, the rest moves back"),
        "screen": Perturbation((1, 2, 3, 4, 5), "filmed off a screen: moire, bars, mixed pictures, H.264", "libx264"),
        "screen_recorder": Perturbation(
            (1.5, 1.17, 0.75), "recorded from a screen at this scale, 30 a second; changes size and rate", "libx264"
        ),
        "platform": Perturbation(
            ("feed", "stories", "messenger", "video_call"), "resized and re-encoded as a service would", "libx264"
        ),
        "sound_aac": Perturbation((64, 32, 16), "sound as AAC of this many kbit/s; pictures are left alone"),
        "silence": Perturbation(("all",), "sound removed"),
    }
)

SEVEN_BY_FIVE: Mapping[str, tuple[str, tuple[Level, ...]]] = MappingProxyType(
    {
        "CS": ("saturation", (0.4, 0.3, 0.2, 0.1, 0.0)),
        "CC": ("contrast", (0.85, 0.725, 0.6, 0.475, 0.35)),
        "BW": ("blocks", (16, 32, 48, 64, 80)),
        "GNC": ("noise", (8.1, 11.4, 18.0, 25.5, 57.0)),
        "GB": ("blur", (1.17, 1.5, 2.17, 2.83, 3.5)),
        "JPEG": ("jpeg", (80, 60, 40, 25, 10)),
        "VC": ("h264", (30, 32, 35, 38, 40)),
    }
)
"""The suite of seven kinds in five levels of DeeperForensics-1.0 (Jiang et al., CVPR 2020), by its names.

Its levels, in our units: noise is given there as a variance of values from 0 to 1 (.001 to .05), blur as a kernel of
7 to 21 pixels of which sigma is a sixth. Three differ on purpose, so compare published figures with care: its code
scales down by 2 to 6 and up again where the paper says JPEG (here: `resize` of 1/2 to 1/6), multiplies towards black
where it says contrast, and draws no block at all on pictures under 256 pixels.
"""


def perturb(clip: Clip, name: str, level: Level, *, seed: int = 0) -> Clip:
    """The clip after one perturbation.

    Args:
        clip: left as it is.
        name: a key of PERTURBATIONS.
        level: usually one of its levels; any value of that kind is taken.
        seed: of what is random (noise, places, lost frames); the same seed gives the same clip.

    Raises:
        MediaError: an unknown name, a level out of range, or an encoder this build lacks.
    """
    if name not in PERTURBATIONS:
        raise MediaError(f"there is no perturbation {name!r}; choose one of {', '.join(PERTURBATIONS)}")
    if not PERTURBATIONS[name].available:
        raise MediaError(f"perturbation {name}: this build of libav has no {PERTURBATIONS[name].encoder}; use another")
    if name == "silence":
        return Clip(clip.frames, clip.fps)
    if name in _BY_WORD:
        return _BY_WORD[name](clip, str(level))
    try:
        number = float(level)
    except ValueError:
        raise MediaError(f"perturbation {name}: level must be a number, got {level!r}") from None
    if name in _BY_CHANCE:
        return _BY_CHANCE[name](clip, number, seed)
    return _BY_NUMBER[name](clip, number)


def available_perturbations() -> tuple[str, ...]:
    """Names whose encoder, if any, is in this build of libav."""
    return tuple(name for name, kind in PERTURBATIONS.items() if kind.available)


_BY_WORD: Mapping[str, Callable[[Clip, str], Clip]] = MappingProxyType(
    {"platform": perturb_codecs.through_platform, "chroma": perturb_pictures.chroma}
)
_BY_CHANCE: Mapping[str, Callable[[Clip, float, int], Clip]] = MappingProxyType(
    {
        "noise": perturb_pictures.noise,
        "blocks": perturb_pictures.blocks,
        "freeze": perturb_time.freeze,
        "drop": perturb_time.drop,
        "duplicate": perturb_time.duplicate,
        "screen": perturb_screen.screen,
    }
)
_BY_NUMBER: Mapping[str, Callable[[Clip, float], Clip]] = MappingProxyType(
    {
        "h264": perturb_codecs.h264,
        "hevc": perturb_codecs.hevc,
        "vp9": perturb_codecs.vp9,
        "av1": perturb_codecs.av1,
        "generations": perturb_codecs.generations,
        "jpeg": perturb_pictures.jpeg,
        "resize": perturb_pictures.resize,
        "pixelate": perturb_pictures.pixelate,
        "blur": perturb_pictures.blur,
        "sharpen": perturb_pictures.sharpen,
        "brightness": perturb_pictures.brightness,
        "contrast": perturb_pictures.contrast,
        "saturation": perturb_pictures.saturation,
        "gamma": perturb_pictures.gamma,
        "warmth": perturb_pictures.warmth,
        "tint": perturb_pictures.tint,
        "crop": perturb_pictures.crop,
        "letterbox": perturb_pictures.letterbox,
        "text": perturb_pictures.text,
        "fps": perturb_time.fps,
        "screen_recorder": perturb_screen.screen_recorder,
        "sound_aac": perturb_codecs.sound_aac,
    }
)
