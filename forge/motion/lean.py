"""The motion network in plain numpy, for one window at a time.

Live speech has 40 ms a frame, and torch spends most of them between the small products of a window of 14 frames.

    lean = LeanDenoiser(network)
    clean_1TM = lean(noisy_1TM, time_1, conditions)      # as network(...) answers, to rounding

Axes: N = P + T tokens of the past and the window, W width, H heads, K half a head's width, M motion features,
A audio features.
"""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import erf
from torch import Tensor, nn

from forge.motion.denoiser import CARRIED, HINT_REACH, Conditions, MotionDenoiser

Array = NDArray[np.float32]
EPSILON = 1e-5


class LeanDenoiser:
    """The weights of a `MotionDenoiser` as arrays, and its forward pass for a batch of one."""

    def __init__(self, network: MotionDenoiser) -> None:
        self.shape = network.shape
        self._weights = {name: np.ascontiguousarray(value.numpy()) for name, value in network.state_dict().items()}
        # laid out for x @ weight: a product with a transposed view of a small matrix takes eight times as long
        matrices = [name for name, value in self._weights.items() if name.endswith("weight") and value.ndim == 2]
        self._across = {name: np.ascontiguousarray(self._weights[name].T) for name in matrices}
        self._turns_N2K = network.turns_N2K.numpy()
        self._drawn_M = network.drawn_M.numpy()
        self._near_5WW = _dense(network.near)
        hint = self._weights["hint.weight"]
        self._hint_IM = hint.transpose(2, 1, 0).reshape(-1, hint.shape[0])
        self._network = network
        self._steers: dict[tuple[float, bytes], Array] = {}

    def __call__(self, noisy_1TM: Tensor, time_1: Tensor, given: Conditions) -> Tensor:
        """Predicted clean motion (1, T, M)."""
        noisy_TM, time = noisy_1TM[0].numpy(), float(time_1[0])
        past_known = bool(given.has_past_B[0])
        context, w = self.shape.context, self._weights
        audio_NA = np.concatenate([given.past_audio_BPA[0].numpy(), given.audio_BTA[0].numpy()])
        heard_T = given.heard_BT[0].numpy()
        known_N = np.concatenate([np.full(context, past_known), heard_T])
        sound_NW = self._sound(audio_NA, known_N)
        past_PM = given.past_motion_BPM[0].numpy()
        past_PW = self._linear("from_past", past_PM) + sound_NW[:context] if past_known else w["no_past_W"]
        past_PW = np.broadcast_to(past_PW, (context, self.shape.width)) + w["is_past_W"]
        x_NW = np.concatenate([past_PW, self._linear("from_motion", noisy_TM) + sound_NW[context:]])
        steer_6W = self._steer(time_1, given)
        for layer in range(self.shape.layers):
            x_NW = self._layer(f"layers.{layer}.", x_NW, steer_6W)
        last_TW = _normal(x_NW[context:]) * w["last.weight"] + w["last.bias"]
        rest_TM = self._linear("to_motion", last_TW) + self._hint(audio_NA, known_N & (heard_T[0] | ~past_known))
        if past_known:
            kept_KM = past_PM[-CARRIED:]
            rest_TM += np.einsum("km,tkm->tm", kept_KM, w["carry_TKM"][: len(noisy_TM), -len(kept_KM) :])
        answer_TM = (cos(time * pi / 2) * noisy_TM + sin(time * pi / 2) * rest_TM) * self._drawn_M
        return torch.from_numpy(answer_TM.astype(np.float32))[None]

    def _linear(self, name: str, x: Array) -> Array:
        return np.asarray(x @ self._across[f"{name}.weight"] + self._weights[f"{name}.bias"], np.float32)

    def _sound(self, audio_NA: Array, known_N: NDArray[np.bool_]) -> Array:
        """(N, W) what is heard at each token."""
        told_NW = self._linear("from_audio.2", _gelu(self._linear("from_audio.0", audio_NA)))
        told_NW = np.where(known_N[:, None], told_NW, self._weights["no_audio_W"])
        reach = len(self._near_5WW) // 2
        padded = np.pad(told_NW, ((reach, reach), (0, 0)))
        near_NW = sum(padded[tap : tap + len(told_NW)] @ weight for tap, weight in enumerate(self._near_5WW))
        return np.asarray(told_NW + near_NW + self._weights["near.bias"], np.float32)

    def _steer(self, time_1: Tensor, given: Conditions) -> Array:
        """(6, W) modulation by time and wishes; the same for every frame of a talk, so it is kept."""
        wish = (given.gaze_B2, given.distance_B, given.emotion_BE, given.manner_B)
        flags = (given.has_gaze_B, given.has_distance_B, given.has_emotion_B, given.has_manner_B)
        key = (float(time_1[0]), b"".join(tensor.numpy().tobytes() for tensor in (*wish, *flags)))
        if key not in self._steers:
            if len(self._steers) > 256:
                self._steers.clear()
            wished = self._network.steer(nn.functional.silu(self._network.wishes(time_1, given)))
            self._steers[key] = wished.view(6, self.shape.width).numpy()
        return self._steers[key]

    def _layer(self, name: str, x_NW: Array, steer_6W: Array) -> Array:
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = steer_6W + self._weights[f"{name}table_6W"]
        x_NW = x_NW + gate_a * self._attended(name, _normal(x_NW) * (1 + scale_a) + shift_a)
        wide = _gelu(self._linear(f"{name}widen", _normal(x_NW) * (1 + scale_f) + shift_f))
        return np.asarray(x_NW + gate_f * self._linear(f"{name}narrow", wide), np.float32)

    def _attended(self, name: str, x_NW: Array) -> Array:
        tokens, width = x_NW.shape
        heads = self.shape.heads
        parts = self._linear(f"{name}query_key_value", x_NW).reshape(tokens, 3, heads, width // heads)
        query_HNK, key_HNK, value_HNK = parts.transpose(1, 2, 0, 3)
        turns = self._turns_N2K[:tokens]
        match = _turned(query_HNK, turns) @ _turned(key_HNK, turns).transpose(0, 2, 1) / np.sqrt(width // heads)
        match = np.exp(match - match.max(axis=2, keepdims=True))
        mixed_HNK = (match / match.sum(axis=2, keepdims=True)) @ value_HNK
        return self._linear(f"{name}mix", mixed_HNK.transpose(1, 0, 2).reshape(tokens, width))

    def _hint(self, audio_NA: Array, known_N: NDArray[np.bool_]) -> Array:
        """(T, M) linear reading of the sound around each frame of the window."""
        context = self.shape.context
        padded = np.pad(audio_NA * known_N[:, None], ((HINT_REACH, HINT_REACH), (0, 0)))
        heard = np.flatnonzero(known_N[context:])
        out_TM = np.zeros((len(known_N) - context, self._hint_IM.shape[1]), np.float32)
        for frame in heard:
            around = padded[context + frame : context + frame + 2 * HINT_REACH + 1].ravel()
            out_TM[frame] = around @ self._hint_IM + self._weights["hint.bias"]
        return out_TM


def _dense(near: nn.Conv1d) -> Array:
    """(taps, W in, W out) of a grouped convolution."""
    weight = near.weight.detach().numpy()
    outs, per_group, taps = weight.shape
    dense = np.zeros((taps, outs, outs), np.float32)
    for out in range(outs):
        first = out // (outs // near.groups) * per_group
        dense[:, first : first + per_group, out] = weight[out].T
    return dense


def _normal(x_NW: Array) -> Array:
    centred = x_NW - x_NW.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + EPSILON), np.float32)


def _gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1.0 + erf(x * np.float32(0.70710678))), np.float32)


def _turned(x_HNK: Array, turn_N2K: Array) -> Array:
    first, second = np.split(x_HNK, 2, axis=2)
    cosine, sine = turn_N2K[:, 0], turn_N2K[:, 1]
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=2)
