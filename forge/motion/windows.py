"""Speech to Motion with the motion network: window after window, any length, each tied to the ten frames before it.

    model = MotionModel.load(path)
    motion = motion_by_diffusion(model, read_waveform(speech), Fraction(25), Controls(seed=7))

1. Hear: chances of visemes and coarse bands for each video frame at 25 a second (`listening`).
2. Ask: main gaze, head distance and emotion of the controls become conditions of the network.
3. Draw: windows of 50 frames by DDIM under guidance; the noise of a frame depends on the seed, its number and, for the
   mouth, on what is heard (`chance`).
4. Obey: what the network was not taught (liveliness of the head, blinks, lip gain) is applied to its curves.
5. Sample: the curves at the moments of the wanted frame rate.

Axes: B batch, T frames, P context frames, M motion features, A audio features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from forge.motion import prior
from forge.motion.chance import MOUTH, mouth_angles, take_noise
from forge.motion.controls import Controls
from forge.motion.denoiser import Conditions, DenoiserShape, MotionDenoiser
from forge.motion.diffusion import DEFAULT_GUIDANCE, guided, sample
from forge.motion.features import BLENDSHAPES, FREE_NAMES, INDEX, NAMES, POSE, Motion
from forge.motion.listening import MOTION_FPS, heard_frames
from forge.motion.speech import moments_of
from forge.motion.wishes import Wish, arrived, looking, room_gaze
from media.clip import Waveform, frames_for
from provenance.files import write_whole

FloatArray = NDArray[np.float32]
DEFAULT_STEPS = 10
GUIDABLE = frozenset({"audio", "gaze", "distance", "emotion"})
"""Conditions that guidance may push."""
OVERLAP_FRAMES = 10
"""Frames that two windows share: the first has drawn them knowing what came before, the second what comes after."""
LIPS = [INDEX[name] for name in NAMES if name.startswith(("jawOpen", "mouthLowerDown", "mouthUpperUp"))]
"""Features that `lip_gain` scales."""


@dataclass(frozen=True)
class Manner:
    """How a face speaks and how it lives: 0 as the hand-made mouth and prior do, 1 as people on video do."""

    speaks: float = 0.0
    """Hand-made: it articulates more clearly, and few real clips are in sync with their sound."""
    lives: float = 1.0
    """Head, eyes and brows as real people's."""


@dataclass(frozen=True, eq=False)
class MotionModel:
    """A trained motion network and the scale of its motion."""

    network: MotionDenoiser
    mean_M: Tensor
    deviation_M: Tensor
    manner: Manner = Manner()
    folded_steps: int = 0
    """Steps of the sampler that a distilled network was made for, guidance folded in; 0 for one that was not."""
    stretches: tuple[int, ...] = ()
    """Of a network of live talks: frames of noise behind each token (`chance.noise_ahead`); () for one of windows."""
    mouth_gain: float = 1.0
    """Of a network of live talks: what its mouth's departures are scaled by once they are drawn. It was taught to be
    right on average, and the mean of what may follow opens and closes less than any of it."""

    def clean(self, noisy_BTM: Tensor, time_B: Tensor, given: Conditions) -> Tensor:
        """The network's guess of the clean motion (B, T, M), mouth and rest each in its manner."""
        if self.folded_steps:
            return self.network(noisy_BTM, time_B, given)  # type: ignore[no-any-return]
        speaks, lives = (
            replace(given, manner_B=torch.full_like(given.manner_B, manner))
            for manner in (self.manner.speaks, self.manner.lives)
        )
        spoken_BTM: Tensor = self.network(noisy_BTM, time_B, speaks)
        if self.manner.speaks == self.manner.lives:
            return spoken_BTM
        return torch.where(MOUTH.to(noisy_BTM.device), spoken_BTM, self.network(noisy_BTM, time_B, lives))

    @property
    def steps(self) -> int:
        """Steps of the sampler when nothing is asked for."""
        return self.folded_steps or DEFAULT_STEPS

    @property
    def guidance(self) -> Mapping[str, float]:
        """Guidance when nothing is asked for."""
        return {} if self.folded_steps else DEFAULT_GUIDANCE

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> MotionModel:
        """Weights as written by `save`.

        Raises:
            ValueError: in one line, for another or a damaged file.
        """
        try:
            with safe_open(path, framework="pt") as stored:
                facts = json.loads((stored.metadata() or {})["motion"])
                tensors = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
            shape = DenoiserShape(**{key: int(facts[key]) for key in asdict(DenoiserShape())})
            folded_steps = int(facts["folded_steps"])
            stretches = tuple(int(frames) for frames in facts.get("stretches", ()))
            mouth_gain = float(facts.get("mouth_gain", 1.0))
            mean_M, deviation_M = tensors.pop("scale.mean"), tensors.pop("scale.deviation")
            network = MotionDenoiser(shape)
            network.load_state_dict(tensors)
        except (OSError, KeyError, RuntimeError, ValueError, SafetensorError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(
                f"{path}: holds no weights of a motion network ({first}); train or copy it again"
            ) from None
        return cls(
            network.eval().to(device),
            mean_M.to(device),
            deviation_M.to(device),
            folded_steps=folded_steps,
            stretches=stretches,
            mouth_gain=mouth_gain,
        )

    def save(self, path: Path) -> None:
        """Write half-precision safetensors, whole or not at all."""
        tensors = {name: tensor.half().contiguous().cpu() for name, tensor in self.network.state_dict().items()}
        tensors |= {"scale.mean": self.mean_M.float().cpu(), "scale.deviation": self.deviation_M.float().cpu()}
        facts: dict[str, object] = asdict(self.network.shape) | {"folded_steps": self.folded_steps}
        if self.stretches:
            facts |= {"stretches": list(self.stretches), "mouth_gain": self.mouth_gain}
        # one entry only: safetensors writes several in random order, and equal weights are to be equal bytes
        write_whole(path, save(tensors, {"motion": json.dumps(facts, sort_keys=True)}))

    def standardised(self, motion_TM: Tensor) -> Tensor:
        """Departures from a wish (`wishes`) in units of their own deviation."""
        return (motion_TM - self.mean_M) / self.deviation_M

    def plain(self, motion_TM: Tensor) -> Tensor:
        """Departures from a wish in the units of `features`."""
        return motion_TM * self.deviation_M + self.mean_M


def motion_by_diffusion(
    model: MotionModel,
    speech: Waveform,
    fps: Fraction = MOTION_FPS,
    controls: Controls | None = None,
    *,
    steps: int | None = None,
    guidance: Mapping[str, float] | None = None,
) -> Motion:
    """Motion of exactly `frames_for(speech.duration_seconds, fps)` frames, the same for the same seed.

    Args:
        model: trained weights.
        speech: any rate, any channels, any length.
        fps: exact frame rate.
        controls: wishes and the seed.
        steps: of the sampler for each window; default: the model's.
        guidance: strength by condition; {} is none; default: the model's.

    Raises:
        ValueError: in one line, for a frame rate that is not positive and for a network of live talks.
    """
    if fps <= 0:
        raise ValueError(f"fps must be positive, got {fps}")
    if model.stretches:
        raise ValueError("these weights draw live talks, frame by frame; use forge live, or weights of whole windows")
    controls = controls or Controls()
    length = max(1, frames_for(speech.duration_seconds, MOTION_FPS))
    values = draw_windows(
        model,
        heard_frames(speech, length),
        controls,
        steps=model.steps if steps is None else steps,
        guidance=model.guidance if guidance is None else guidance,
    )
    motion = obeyed(values, controls)
    wanted = moments_of(frames_for(speech.duration_seconds, fps), fps)
    return resampled(motion, wanted, fps)


def draw_windows(
    model: MotionModel, audio_TA: FloatArray, controls: Controls, *, steps: int, guidance: Mapping[str, float]
) -> FloatArray:
    """(T, M) motion for (T, A) sound, in windows that continue each other and are faded over where they overlap."""
    drawn = draw_departures(model, audio_TA, controls, steps=steps, guidance=guidance)
    return arrived(np.asarray(model.plain(drawn).cpu().numpy(), np.float32), Wish.of(controls))


@torch.inference_mode()
def draw_departures(
    model: MotionModel, audio_TA: FloatArray, controls: Controls, *, steps: int, guidance: Mapping[str, float]
) -> Tensor:
    """(T, M) the same as the network draws it: standardised departures from the wish."""
    shape, device = model.network.shape, model.mean_M.device
    length, context = len(audio_TA), shape.context
    audio, angle_T = torch.from_numpy(audio_TA).to(device), mouth_angles(torch.from_numpy(audio_TA))
    drawn = torch.zeros((length, len(NAMES)), device=device)
    overlap = min(OVERLAP_FRAMES, shape.window // 2)
    for first in range(0, length, shape.window - overlap):
        count = min(shape.window, length - first)
        begins = max(0, first - context)
        past_motion, past_audio = (torch.zeros((1, context, w), device=device) for w in (len(NAMES), audio.shape[1]))
        if first:
            past_motion[0, context - (first - begins) :] = drawn[begins:first]
            past_audio[0, context - (first - begins) :] = audio[begins:first]
        given = wished(controls, audio[None, first : first + count], past_motion, past_audio, has_past=first > 0)
        noise = take_noise(controls.seed, first, angle_T[first : first + count])[None].to(device)

        def denoise(noisy: Tensor, time: Tensor, given: Conditions = given) -> Tensor:
            return guided(lambda gone: model.clean(noisy, time, given.without(gone)), guidance, GUIDABLE)

        window = sample(denoise, noise, steps)[0]
        if first:
            shared = min(overlap, count)
            share = ((torch.arange(shared, device=device) + 0.5) / overlap)[:, None]
            window[:shared] = share * window[:shared] + (1.0 - share) * drawn[first : first + shared]
        drawn[first : first + count] = window
        if first + count == length:
            break
    return drawn


def wished(
    controls: Controls, audio_BTA: Tensor, past_motion_BPM: Tensor, past_audio_BPA: Tensor, *, has_past: bool
) -> Conditions:
    """The conditions of a window under a person's wishes."""
    batch, frames = audio_BTA.shape[:2]
    device = audio_BTA.device
    yes = torch.ones(batch, dtype=torch.bool, device=device)
    gaze, log_scale, emotion = Wish.of(controls).features()
    return Conditions(
        audio_BTA=audio_BTA,
        heard_BT=yes[:, None].expand(batch, frames),
        past_motion_BPM=past_motion_BPM,
        past_audio_BPA=past_audio_BPA,
        has_past_B=yes & has_past,
        gaze_B2=torch.from_numpy(gaze).to(device).expand(batch, 2),
        has_gaze_B=yes,
        distance_B=torch.full((batch,), float(log_scale), device=device),
        has_distance_B=yes,
        emotion_BE=torch.from_numpy(emotion).to(device).expand(batch, len(emotion)),
        has_emotion_B=yes,
        manner_B=torch.zeros(batch, device=device),
        has_manner_B=yes,
    )


def obeyed(values_TM: FloatArray, controls: Controls, *, first: int = 0) -> FloatArray:
    """Wishes that are no condition of the network, blinks, and the limits of every feature.

    Args:
        values_TM: what the network drew.
        controls: the wishes.
        first: number of the first frame in its talk.
    """
    out = values_TM.copy()
    room_T2 = room_gaze(out)
    place = -np.log(controls.distance)
    still = np.array([0.0, 0.0, 0.0, 0.0, 0.0, place], np.float32)
    out[:, POSE] = still + controls.head_motion * (out[:, POSE] - still)
    out[:, :3] = prior.within_reach(out[:, :3].astype(np.float64))
    out[:, LIPS] *= controls.lip_gain
    lids = [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]
    out[:, lids] = _blinking(out[:, lids], controls, first)
    out = looking(out, room_T2)
    out[:, [INDEX[name] for name in FREE_NAMES]] = 0.0
    out[:, BLENDSHAPES] = np.clip(out[:, BLENDSHAPES], 0.0, 1.0)
    return out


def _blinking(lids_T2: FloatArray, controls: Controls, first: int) -> FloatArray:
    """Lids that blink as often as people do; what they do between blinks stays.

    Blinks are short and rare, and a network of this size draws a third of them (see its card): their times
    and courses come from statistics of real talkers, fixed in absolute time by the seed, so live talks have them too.
    """
    frames = np.arange(first, first + len(lids_T2))
    drawn = np.concatenate(
        [
            blinks_of_block(controls.seed, controls.blink_rate, int(block))[frames[frames // BLOCK == block] % BLOCK]
            for block in np.unique(frames // BLOCK)
        ]
    )
    return np.asarray(np.maximum(np.minimum(lids_T2, OPEN_LIDS), drawn), np.float32)


BLOCK = 1500
"""Frames of a minute."""
OPEN_LIDS = 0.25
"""Lids of an open eye come down so far."""


@lru_cache(maxsize=64)
def blinks_of_block(seed: int, rate: float, block: int) -> FloatArray:
    """(BLOCK, 2) closing of the left and right lid in one minute of a talk."""
    seconds = moments_of((block + 1) * BLOCK, MOTION_FPS)[block * BLOCK :]
    times = prior.blink_times(seed, float(seconds[-1]) + 1.0, rate, ())
    return np.stack(prior.lids(seed, seconds, times), axis=1).astype(np.float32)


def resampled(values_TM: FloatArray, seconds_F: NDArray[np.float64], fps: Fraction) -> Motion:
    """Curves at 25 a second at other moments, straight lines between; the first and last frame hold."""
    at = moments_of(len(values_TM), MOTION_FPS)
    columns = [np.interp(seconds_F, at, column) for column in values_TM.T]
    return Motion(np.stack(columns, axis=1).astype(np.float32), fps)
