"""Where the motion of a clip comes from, by name: the deterministic baseline, the motion network, or your own weights.

    motion = MotionSource("baseline").speak(speech, Fraction(25), Controls(seed=7))
    source = MotionSource.parse("diffusion", steps=10, guidance="audio=0.5,gaze=1")
    source.to_json()      # what a credential says: {"motion": "diffusion", "motion_sha256": "...", ...}

`baseline` hears visemes and lives by rules (`motion.speech`). `diffusion` is drawn by the network that ships with the
package (`motion.windows`), distilled to two steps, or by its teacher where steps or guidance are given; live talks by
a student of one step. A path ends in `.safetensors` and holds weights of the same network. Torch is loaded when a
network is used, not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forge.motion.controls import BASELINE, DEFAULT_MOTION, DIFFUSION, Controls
from forge.motion.features import Motion
from forge.motion.hearing import SHORTEST_SECONDS
from forge.portrait import ForgeError, sha256_of
from media.clip import Waveform

if TYPE_CHECKING:
    from forge.motion.windows import MotionModel
    from forge.stream import LiveMotion

ASSETS = Path(__file__).with_name("assets")
LISTENER_WEIGHTS = ASSETS / "listener.safetensors"
SHIPPED_WEIGHTS = ASSETS / "motion.safetensors"
"""Distilled to two steps, guidance folded in."""
TEACHER_WEIGHTS = ASSETS / "motion_teacher.safetensors"
"""What it was distilled from: for other numbers of steps and other guidance."""
LIVE_WEIGHTS = ASSETS / "motion_live.safetensors"
"""Distilled on what a live talk has (`forge.distil_live`)."""
ENDING = ".safetensors"
GUIDABLE: tuple[str, ...] = ("audio", "gaze", "distance", "emotion")
"""Conditions that guidance can push (`denoiser.CONDITIONS` but the past)."""
NO_GUIDANCE = "none"
MOST_STEPS, STRONGEST_GUIDANCE = 250, 10.0


@dataclass(frozen=True)
class MotionSource:
    """A maker of motion and how it is sampled; loaded when it is first used."""

    name: str = DEFAULT_MOTION
    """`baseline`, `diffusion`, or the path of a .safetensors file."""
    steps: int | None = None
    """Of the sampler; None takes the network's own number."""
    guidance: tuple[tuple[str, float], ...] | None = None
    """Strength by condition; () is none at all, None the network's own."""

    def __post_init__(self) -> None:
        """Refuse unknown names, and settings that nothing would listen to."""
        if self.name not in (BASELINE, DIFFUSION) and not self.name.endswith(ENDING):
            raise ForgeError(
                f"motion must be {BASELINE}, {DIFFUSION} or the path of a {ENDING} file, got {self.name[:80]!r}"
            )
        if self.name == BASELINE and (self.steps is not None or self.guidance is not None):
            raise ForgeError(f"steps and guidance steer a network; leave them out, or say --motion {DIFFUSION}")
        if self.steps is not None and not (isinstance(self.steps, int) and 1 <= self.steps <= MOST_STEPS):
            raise ForgeError(f"steps must be a whole number from 1 to {MOST_STEPS}, got {self.steps}")
        _check_guidance(self.guidance or ())

    @classmethod
    def parse(
        cls, name: str = DEFAULT_MOTION, *, steps: int | None = None, guidance: str | None = None
    ) -> MotionSource:
        """A source from what a person types: guidance is "audio=0.5,gaze=1", or "none".

        Raises:
            ForgeError: one line that says what was expected and what came.
        """
        return cls(name, steps, None if guidance is None else parse_guidance(guidance))

    @property
    def is_network(self) -> bool:
        """Whether a network draws it."""
        return self.name != BASELINE

    @property
    def label(self) -> str:
        """What a record calls it: a file by its own name, for where it lay is nobody's business."""
        return Path(self.name).name if self.is_network else self.name

    @property
    def weights(self) -> Path:
        """The file that the source is made of."""
        if not self.is_network:
            return LISTENER_WEIGHTS
        if self.name != DIFFUSION:
            return Path(self.name)
        return SHIPPED_WEIGHTS if self.steps is None and self.guidance is None else TEACHER_WEIGHTS

    @property
    def live_weights(self) -> Path:
        """The file that draws live talks."""
        as_shipped = self.name == DIFFUSION and self.steps is None and self.guidance is None
        return LIVE_WEIGHTS if as_shipped else self.weights

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the weights.

        Raises:
            ForgeError: when they are missing.
        """
        return self._digest(self.weights)

    def _digest(self, weights: Path) -> str:
        _check_there(weights, shipped=self.name == DIFFUSION)
        return _digest(weights, _stamp(weights))

    def to_json(self) -> dict[str, Any]:
        """What a Record says of it: name, digest of the weights, and of a network how it was sampled."""
        facts: dict[str, Any] = {"motion": self.label, "motion_sha256": self.fingerprint()}
        if self.is_network:
            steps, guidance = self.sampling()
            facts |= {"motion_steps": steps, "motion_guidance": dict(guidance)}
        return facts

    def sampling(self) -> tuple[int, Mapping[str, float]]:
        """Steps and guidance, the network's own where nobody said."""
        model = self.load()
        return self.steps or model.steps, model.guidance if self.guidance is None else dict(self.guidance)

    def live_sampling(self) -> tuple[int, Mapping[str, float]]:
        """The same for live motion, where a frame has 40 ms and guidance costs as much again for each condition."""
        from forge.stream import LIVE_STEPS

        return self.steps or self._load(self.live_weights).folded_steps or LIVE_STEPS, dict(self.guidance or {})

    def live_facts(self) -> dict[str, Any]:
        """What a Record says of live motion: digest of the weights, and how they were sampled."""
        steps, guidance = self.live_sampling()
        facts = {"motion_steps": steps, "motion_guidance": dict(guidance)}
        return {"motion_sha256": self._digest(self.live_weights)} | facts

    def speak(self, speech: Waveform, fps: Fraction, controls: Controls) -> Motion:
        """Motion of exactly `frames_for(speech.duration_seconds, fps)` frames.

        Args:
            speech: any rate, any channels, at least 0.2 s.
            fps: exact frame rate.
            controls: wishes and the seed.

        Raises:
            ForgeError: when the speech cannot be spoken, or the weights are missing or damaged.
        """
        if speech.duration_seconds < SHORTEST_SECONDS:
            heard, least = float(speech.duration_seconds), float(SHORTEST_SECONDS)
            raise ForgeError(f"this speech cannot be spoken: it lasts {heard:.3f} s, need at least {least} s")
        try:
            if not self.is_network:
                from forge.motion.speech import motion_from_speech

                return motion_from_speech(speech, fps, controls)
            model = self.load()
            from forge.motion.windows import motion_by_diffusion

            steps, guidance = self.sampling()
            with _one_thread():
                return motion_by_diffusion(model, speech, fps, controls, steps=steps, guidance=guidance)
        except ValueError as error:
            raise ForgeError(f"this speech cannot be spoken: {error}") from error

    def live(self, controls: Controls) -> LiveMotion:
        """Motion while the sound is coming in.

        Raises:
            ForgeError: for the baseline, which looks ahead, and for weights that are missing or damaged.
        """
        if not self.is_network:
            raise ForgeError(
                f"the motion {BASELINE} looks ahead and cannot speak live; say {DIFFUSION} or give weights"
            )
        model = self._load(self.live_weights)
        from forge.stream import LiveMotion

        steps, guidance = self.live_sampling()
        return LiveMotion(model, controls, steps=steps, guidance=guidance)

    def load(self) -> MotionModel:
        """The network, read once a process.

        Raises:
            ForgeError: when there is none, or its weights are missing or damaged.
        """
        if not self.is_network:
            raise ForgeError(f"the motion {BASELINE} has no network; say {DIFFUSION} or give weights")
        return self._load(self.weights)

    def _load(self, path: Path) -> MotionModel:
        _check_there(path, shipped=self.name == DIFFUSION)
        try:
            return _loaded(path, _stamp(path))
        except ValueError as error:
            raise ForgeError(str(error)) from error

    def check(self) -> None:
        """Refuse weights that are missing or damaged before any work is spent.

        Raises:
            ForgeError: in one line.
        """
        if self.is_network:
            self.load()


def parse_guidance(text: str) -> tuple[tuple[str, float], ...]:
    """Strength by condition from "audio=0.5,gaze=1", or from "none".

    Raises:
        ForgeError: for anything else.
    """
    if text.strip().lower() == NO_GUIDANCE:
        return ()
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        guidance = tuple((name.strip(), float(value)) for name, _, value in pairs)
    except ValueError:
        example = f'"audio=0.5,gaze=1" or "{NO_GUIDANCE}"'
        raise ForgeError(f"guidance must be strengths by condition, such as {example}, got {text[:60]!r}") from None
    _check_guidance(guidance)
    return guidance


def _check_guidance(guidance: tuple[tuple[str, float], ...]) -> None:
    names = [name for name, _ in guidance]
    for name, value in guidance:
        if name not in GUIDABLE or names.count(name) > 1:
            raise ForgeError(f"guidance pushes each of {', '.join(GUIDABLE)} at most once, got {name[:40]!r}")
        if not isfinite(value) or not 0 <= value <= STRONGEST_GUIDANCE:
            raise ForgeError(f"guidance must be between 0 and {STRONGEST_GUIDANCE:g}, got {name}={value}")


def _check_there(path: Path, *, shipped: bool) -> None:
    if path.is_file():
        return
    if shipped:
        raise ForgeError(
            f"the motion {DIFFUSION} is not installed ({path.name} is missing); say --motion {BASELINE}, or give the "
            f"path of a {ENDING} file"
        )
    raise ForgeError(f"{path}: no such file; give weights of the motion network, or say --motion {BASELINE}")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums split over threads differ in their last bits: the same seed is the same motion on any number of cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _stamp(path: Path) -> tuple[int, int]:
    """The state of a file, by which what was read from it is kept: weights that are trained again are read again."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


@lru_cache(maxsize=4)
def _digest(path: Path, stamp: tuple[int, int]) -> str:
    return sha256_of(path)


@lru_cache(maxsize=2)
def _loaded(path: Path, stamp: tuple[int, int]) -> MotionModel:
    from forge.motion.windows import MotionModel

    return MotionModel.load(path)
