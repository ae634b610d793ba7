"""Speech to Motion with the motion network: window after window, any length, each tied to the ten frames before it.

    model = MotionModel.load(path)
    motion = motion_by_diffusion(model, read_waveform(speech), Fraction(25), Controls(seed=7))

1. Hear: scores of visemes and coarse bands for each video frame at 25 a second (`listening`).
2. Ask: main gaze, head distance and emotion of the controls become conditions of the network.
3. Draw: windows of 50 frames by DDIM under guidance; the noise of a frame depends on the seed and its number only.
4. Obey: what the network was not taught (liveliness of the head, number of blinks, lip gain) is applied to its curves.
5. Sample: the curves at the moments of the wanted frame rate.

Axes: B batch, T frames, P context frames, M motion features, A audio features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from forge.motion import prior
from forge.motion.controls import EMOTIONS, Controls
from forge.motion.denoiser import Conditions, DenoiserShape, MotionDenoiser
from forge.motion.diffusion import DEFAULT_GUIDANCE, frame_noise, guided, sample
from forge.motion.features import BLENDSHAPES, FREE_NAMES, INDEX, NAMES, POSE, Motion
from forge.motion.listening import MOTION_FPS, heard_frames
from forge.motion.speech import DEGREES_PER_GAZE, gaze_curves, moments_of
from media.clip import Waveform, frames_for
from provenance.files import write_whole

FloatArray = NDArray[np.float32]
DEFAULT_STEPS = 10
DEFAULT_MANNER = 1.0
LIPS = [INDEX[name] for name in NAMES if name.startswith(("jawOpen", "mouthLowerDown", "mouthUpperUp"))]
"""Features that `lip_gain` scales."""


@dataclass(frozen=True, eq=False)
class MotionModel:
    """A trained motion network and the scale of its motion."""

    network: MotionDenoiser
    mean_M: Tensor
    deviation_M: Tensor

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> MotionModel:
        """Weights as written by `save`.

        Raises:
            ValueError: in one line, for another or a damaged file.
        """
        try:
            with safe_open(path, framework="pt") as stored:
                facts = stored.metadata() or {}
                tensors = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
            shape = DenoiserShape(**{key: int(facts[key]) for key in asdict(DenoiserShape())})
            mean_M, deviation_M = tensors.pop("scale.mean"), tensors.pop("scale.deviation")
            network = MotionDenoiser(shape)
            network.load_state_dict(tensors)
        except (OSError, KeyError, RuntimeError, ValueError, SafetensorError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(
                f"{path}: holds no weights of a motion network ({first}); train or copy it again"
            ) from None
        return cls(network.eval().to(device), mean_M.to(device), deviation_M.to(device))

    def save(self, path: Path) -> None:
        """Write half-precision safetensors, whole or not at all."""
        tensors = {name: tensor.half().contiguous().cpu() for name, tensor in self.network.state_dict().items()}
        tensors |= {"scale.mean": self.mean_M.float().cpu(), "scale.deviation": self.deviation_M.float().cpu()}
        write_whole(path, save(tensors, {key: str(value) for key, value in asdict(self.network.shape).items()}))

    def standardised(self, motion_TM: Tensor) -> Tensor:
        """Motion in units of its own deviation."""
        return (motion_TM - self.mean_M) / self.deviation_M

    def plain(self, motion_TM: Tensor) -> Tensor:
        """Motion in the units of `features`."""
        return motion_TM * self.deviation_M + self.mean_M


def motion_by_diffusion(
    model: MotionModel,
    speech: Waveform,
    fps: Fraction = MOTION_FPS,
    controls: Controls | None = None,
    *,
    steps: int = DEFAULT_STEPS,
    guidance: Mapping[str, float] = DEFAULT_GUIDANCE,
) -> Motion:
    """Motion of exactly `frames_for(speech.duration_seconds, fps)` frames, the same for the same seed.

    Args:
        model: trained weights.
        speech: any rate, any channels, any length from 0.2 s.
        fps: exact frame rate.
        controls: wishes and the seed.
        steps: of the sampler for each window.
        guidance: strength by condition; {} is none.

    Raises:
        ValueError: in one line, for speech that is too short or a frame rate that is not positive.
    """
    if fps <= 0:
        raise ValueError(f"fps must be positive, got {fps}")
    controls = controls or Controls()
    length = max(1, frames_for(speech.duration_seconds, MOTION_FPS))
    values = draw_windows(model, heard_frames(speech, length), controls, steps=steps, guidance=guidance)
    motion = obeyed(values, controls)
    wanted = moments_of(frames_for(speech.duration_seconds, fps), fps)
    return resampled(motion, wanted, fps)


@torch.inference_mode()
def draw_windows(
    model: MotionModel, audio_TA: FloatArray, controls: Controls, *, steps: int, guidance: Mapping[str, float]
) -> FloatArray:
    """(T, M) motion for (T, A) sound, in windows that continue each other."""
    shape, device = model.network.shape, model.mean_M.device
    length, context = len(audio_TA), shape.context
    audio = torch.from_numpy(audio_TA).to(device)
    drawn = torch.zeros((length, len(NAMES)), device=device)
    known = frozenset({"audio", "gaze", "distance", "emotion"})
    for first in range(0, length, shape.window):
        count = min(shape.window, length - first)
        begins = max(0, first - context)
        past_motion, past_audio = (torch.zeros((1, context, w), device=device) for w in (len(NAMES), audio.shape[1]))
        if first:
            past_motion[0, context - (first - begins) :] = drawn[begins:first]
            past_audio[0, context - (first - begins) :] = audio[begins:first]
        given = wished(controls, audio[None, first : first + count], past_motion, past_audio, has_past=first > 0)
        noise = frame_noise(controls.seed, first, count)[None].to(device)

        def denoise(noisy: Tensor, time: Tensor, given: Conditions = given) -> Tensor:
            return guided(lambda gone: model.network(noisy, time, given.without(gone)), guidance, known)

        drawn[first : first + count] = sample(denoise, noise, steps)[0]
    return np.asarray(model.plain(drawn).cpu().numpy(), np.float32)


def wished(
    controls: Controls, audio_BTA: Tensor, past_motion_BPM: Tensor, past_audio_BPA: Tensor, *, has_past: bool
) -> Conditions:
    """The conditions of a window under a person's wishes."""
    batch, frames = audio_BTA.shape[:2]
    device = audio_BTA.device
    yes = torch.ones(batch, dtype=torch.bool, device=device)
    emotion = torch.zeros((batch, len(EMOTIONS)), device=device)
    emotion[:, list(EMOTIONS).index(controls.emotion)] = controls.emotion_strength
    gaze = torch.tensor([controls.gaze_yaw_degrees, controls.gaze_pitch_degrees], device=device) / DEGREES_PER_GAZE
    return Conditions(
        audio_BTA=audio_BTA,
        heard_BT=yes[:, None].expand(batch, frames),
        past_motion_BPM=past_motion_BPM,
        past_audio_BPA=past_audio_BPA,
        has_past_B=yes & has_past,
        gaze_B2=gaze.expand(batch, 2),
        has_gaze_B=yes,
        distance_B=torch.full((batch,), -float(np.log(controls.distance)), device=device),
        has_distance_B=yes,
        emotion_BE=emotion,
        has_emotion_B=yes,
        manner_B=torch.full((batch,), DEFAULT_MANNER, device=device),
        has_manner_B=yes,
    )


def obeyed(values_TM: FloatArray, controls: Controls, *, live: bool = False) -> FloatArray:
    """Wishes that are no condition of the network, and the limits of every feature.

    Args:
        values_TM: what the network drew.
        controls: the wishes.
        live: leave the number of blinks alone: it takes a whole talk to change it.
    """
    out = values_TM.copy()
    place = -np.log(controls.distance)
    still = np.array([0.0, 0.0, 0.0, 0.0, 0.0, place], np.float32)
    out[:, POSE] = still + controls.head_motion * (out[:, POSE] - still)
    out[:, :3] = prior.within_reach(out[:, :3].astype(np.float64))
    out[:, LIPS] *= controls.lip_gain
    lids = [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]
    if controls.blink_rate != 1.0 and not live:
        out[:, lids] = _reblinked(out[:, lids], controls)
    gaze = gaze_curves(*(out[:, INDEX[n]].astype(np.float64) * DEGREES_PER_GAZE for n in ("gaze_yaw", "gaze_pitch")))
    for name, curve in gaze.items():
        out[:, INDEX[name]] = curve
    out[:, [INDEX[name] for name in FREE_NAMES]] = 0.0
    out[:, BLENDSHAPES] = np.clip(out[:, BLENDSHAPES], 0.0, 1.0)
    return out


def _reblinked(lids_T2: FloatArray, controls: Controls) -> FloatArray:
    """Lids whose blinks are replaced by ones of the wanted rate; how far the eyes are open between stays."""
    open_T2 = np.minimum(lids_T2, np.median(lids_T2, axis=0, keepdims=True))
    seconds = moments_of(len(lids_T2), MOTION_FPS)
    times = prior.blink_times(controls.seed, float(seconds[-1]), controls.blink_rate, ())
    return np.maximum(open_T2, np.stack(prior.lids(controls.seed, seconds, times), axis=1).astype(np.float32))


def resampled(values_TM: FloatArray, seconds_F: NDArray[np.float64], fps: Fraction) -> Motion:
    """Curves at 25 a second at other moments, straight lines between; the first and last frame hold."""
    at = moments_of(len(values_TM), MOTION_FPS)
    columns = [np.interp(seconds_F, at, column) for column in values_TM.T]
    return Motion(np.stack(columns, axis=1).astype(np.float32), fps)
