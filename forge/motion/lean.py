"""The motion network in plain numpy, for one window at a time.

Live speech has 40 ms a frame, and torch spends most of them between the small products of a window of a dozen frames.

    lean = LeanDenoiser(network)
    clean_1TM = lean(noisy_1TM, time_1, conditions)      # as network(...) answers, to rounding

Diffusion time and wishes hardly change within a talk, so what they do to a layer (shifts, scales, gates) is worked into
its matrices once and kept (`Folded`). What is left of a layer is four products and a few sums.

Axes: N = P + T tokens of the past and the window, W width, H heads, K a head's width, M motion features,
A audio features.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import erf
from torch import Tensor, nn

from forge.motion.denoiser import CARRIED, HINT_REACH, Conditions, MotionDenoiser

Array = NDArray[np.float32]
EPSILON = np.float32(1e-5)
HALF_ROOT = np.float32(0.5**0.5)
KEPT_FOLDS = 8
"""Times and wishes whose matrices are kept: 5.5 MB each for the network that ships. A talk needs one a step."""


@dataclass(frozen=True, eq=False)
class Folded:
    """One layer under one time and one set of wishes; rows are normalised outside."""

    attend_W5W: Array
    """Queries, keys, values, then queries and keys with the halves of each head exchanged: `turned` needs both."""
    attend_5W: Array
    mix_WW: Array
    mix_W: Array
    widen_W4W: Array
    widen_4W: Array
    narrow_4WW: Array
    narrow_W: Array


class LeanDenoiser:
    """The weights of a `MotionDenoiser` as arrays, and its forward pass for a batch of one."""

    def __init__(self, network: MotionDenoiser) -> None:
        self.shape = network.shape
        self._weights = {name: np.ascontiguousarray(value.numpy()) for name, value in network.state_dict().items()}
        # laid out for x @ weight: a product with a transposed view of a small matrix takes eight times as long
        matrices = [name for name, value in self._weights.items() if name.endswith("weight") and value.ndim == 2]
        self._across = {name: np.ascontiguousarray(self._weights[name].T) for name in matrices}
        self._drawn_M = network.drawn_M.numpy()
        self._near_XW = _dense(network.near)
        hint = self._weights["hint.weight"]
        self._hint_XM = np.ascontiguousarray(hint.transpose(2, 1, 0).reshape(-1, hint.shape[0]))
        self._turns_N2W = _turns(network)
        self._network = network
        self._folded: OrderedDict[tuple[float, bytes], list[Folded]] = OrderedDict()

    def __call__(self, noisy_1TM: Tensor, time_1: Tensor, given: Conditions) -> Tensor:
        """Predicted clean motion (1, T, M)."""
        noisy_TM, time = noisy_1TM[0].numpy(), float(time_1[0])
        past_known = bool(given.has_past_B[0])
        context, w = self.shape.context, self._weights
        audio_NA = np.concatenate([given.past_audio_BPA[0].numpy(), given.audio_BTA[0].numpy()])
        heard_T = given.heard_BT[0].numpy()
        known_N = np.concatenate([np.full(context, past_known), heard_T])
        x_NW = self._sound(audio_NA, known_N)
        past_PM = given.past_motion_BPM[0].numpy()
        if past_known:
            x_NW[:context] += self._linear("from_past", past_PM)
        else:
            x_NW[:context] = w["no_past_W"]
        x_NW[:context] += w["is_past_W"]
        x_NW[context:] += self._linear("from_motion", noisy_TM)
        layers = self._layers(time_1, given)
        for layer in layers[:-1]:
            x_NW = self._passed(layer, x_NW, 0)
        last_TW = _normal(self._passed(layers[-1], x_NW, context)) * w["last.weight"] + w["last.bias"]
        rest_TM = self._linear("to_motion", last_TW) + self._hint(
            audio_NA, known_N & bool(heard_T[0] or not past_known)
        )
        if past_known:
            kept_KM = past_PM[-CARRIED:]
            rest_TM += np.einsum("km,tkm->tm", kept_KM, w["carry_TKM"][: len(noisy_TM), -len(kept_KM) :])
        answer_TM = (cos(time * pi / 2) * noisy_TM + sin(time * pi / 2) * rest_TM) * self._drawn_M
        return torch.from_numpy(answer_TM.astype(np.float32))[None]

    def _linear(self, name: str, x: Array) -> Array:
        out: Array = x @ self._across[f"{name}.weight"]
        out += self._weights[f"{name}.bias"]
        return out

    def _sound(self, audio_NA: Array, known_N: NDArray[np.bool_]) -> Array:
        """(N, W) what is heard at each token."""
        tokens, width = len(audio_NA), self.shape.width
        reach = len(self._near_XW) // width // 2
        padded = np.zeros((tokens + 2 * reach, width), np.float32)
        told_NW = padded[reach : reach + tokens]
        told_NW[:] = self._weights["no_audio_W"]
        told_NW[known_N] = self._linear("from_audio.2", _gelu(self._linear("from_audio.0", audio_NA[known_N])))
        around_NX = np.concatenate([padded[tap : tap + tokens] for tap in range(2 * reach + 1)], axis=1)
        return np.asarray(told_NW + around_NX @ self._near_XW + self._weights["near.bias"], np.float32)

    def _layers(self, time_1: Tensor, given: Conditions) -> list[Folded]:
        """Every layer under this time and these wishes."""
        wish = (given.gaze_B2, given.distance_B, given.emotion_BE, given.manner_B)
        flags = (given.has_gaze_B, given.has_distance_B, given.has_emotion_B, given.has_manner_B)
        key = (float(time_1[0]), b"".join(tensor.numpy().tobytes() for tensor in (*wish, *flags)))
        if key not in self._folded:
            wished = self._network.steer(nn.functional.silu(self._network.wishes(time_1, given)))
            steer_6W = wished.view(6, self.shape.width).detach().numpy()
            while len(self._folded) >= KEPT_FOLDS:
                self._folded.popitem(last=False)
            self._folded[key] = [self._fold(f"layers.{layer}.", steer_6W) for layer in range(self.shape.layers)]
        self._folded.move_to_end(key)
        return self._folded[key]

    def _fold(self, name: str, steer_6W: Array) -> Folded:
        w, width = self._weights, self.shape.width
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = steer_6W + w[f"{name}table_6W"]
        attend, widen = self._across[f"{name}query_key_value.weight"], self._across[f"{name}widen.weight"]
        other = _other_halves(width, self.shape.heads)
        columns = np.concatenate([np.arange(3 * width), other, width + other])
        attend, attend_bias = attend[:, columns], w[f"{name}query_key_value.bias"][columns]
        # gelu leaves its half and the root of two to the matrices around it
        return Folded(
            attend_W5W=np.ascontiguousarray((1 + scale_a)[:, None] * attend),
            attend_5W=shift_a @ attend + attend_bias,
            mix_WW=self._across[f"{name}mix.weight"] * gate_a,
            mix_W=w[f"{name}mix.bias"] * gate_a,
            widen_W4W=HALF_ROOT * (1 + scale_f)[:, None] * widen,
            widen_4W=HALF_ROOT * (shift_f @ widen + w[f"{name}widen.bias"]),
            narrow_4WW=HALF_ROOT * self._across[f"{name}narrow.weight"] * gate_f,
            narrow_W=w[f"{name}narrow.bias"] * gate_f,
        )

    def _passed(self, layer: Folded, x_NW: Array, first: int) -> Array:
        """(N - first, W) tokens from `first` on after a layer; they attend to all."""
        tokens, width = x_NW.shape
        heads, each = self.shape.heads, width // self.shape.heads
        parts = _normal(x_NW) @ layer.attend_W5W
        parts += layer.attend_5W
        turned_NX = parts[:, : 2 * width] * self._turns_N2W[0, :tokens]
        turned_NX += parts[:, 3 * width :] * self._turns_N2W[1, :tokens]
        query_HNK = turned_NX[first:, :width].reshape(-1, heads, each).transpose(1, 0, 2)
        key_HKN = turned_NX[:, width:].reshape(tokens, heads, each).transpose(1, 2, 0)
        value_HNK = parts[:, 2 * width : 3 * width].reshape(tokens, heads, each).transpose(1, 0, 2)
        match = query_HNK @ key_HKN
        match -= match.max(axis=2, keepdims=True)
        np.exp(match, out=match)
        match /= match.sum(axis=2, keepdims=True)
        mixed_NW = (match @ value_HNK).transpose(1, 0, 2).reshape(-1, width)
        x_NW = x_NW[first:] + mixed_NW @ layer.mix_WW
        x_NW += layer.mix_W
        wide = _normal(x_NW) @ layer.widen_W4W
        wide += layer.widen_4W
        bent = erf(wide)
        bent += 1.0
        bent *= wide
        x_NW += bent @ layer.narrow_4WW
        x_NW += layer.narrow_W
        return x_NW

    def _hint(self, audio_NA: Array, known_N: NDArray[np.bool_]) -> Array:
        """(T, M) linear reading of the sound around each frame of the window."""
        context = self.shape.context
        padded = np.zeros((len(audio_NA) + 2 * HINT_REACH, audio_NA.shape[1]), np.float32)
        padded[HINT_REACH:-HINT_REACH][known_N] = audio_NA[known_N]
        out_TM = np.zeros((len(known_N) - context, self._hint_XM.shape[1]), np.float32)
        for frame in np.flatnonzero(known_N[context:]):
            around = padded[context + frame : context + frame + 2 * HINT_REACH + 1].ravel()
            out_TM[frame] = around @ self._hint_XM + self._weights["hint.bias"]
        return out_TM


def _dense(near: nn.Conv1d) -> Array:
    """(taps x W in, W out) of a grouped convolution."""
    weight = near.weight.detach().numpy()
    outs, per_group, taps = weight.shape
    dense = np.zeros((taps, outs, outs), np.float32)
    for out in range(outs):
        first = out // (outs // near.groups) * per_group
        dense[:, first : first + per_group, out] = weight[out].T
    return dense.reshape(taps * outs, outs)


def _other_halves(width: int, heads: int) -> NDArray[np.int64]:
    """(W,) place of each channel's partner in the other half of its head."""
    return np.roll(np.arange(width).reshape(heads, 2, -1), 1, axis=1).ravel()


def _turns(network: MotionDenoiser) -> Array:
    """(2, N, 2 W) by what queries and keys, and the same with halves exchanged, are multiplied to be turned.

    Queries are also divided by the root of a head's width, as attention wants them.
    """
    heads, width = network.shape.heads, network.shape.width
    cosine_NK, sine_NK = network.turns_N2K.numpy().transpose(1, 0, 2)
    once = np.stack([np.tile(cosine_NK, (1, 2 * heads)), np.tile(np.concatenate([-sine_NK, sine_NK], 1), (1, heads))])
    return np.concatenate([once / np.float32((width // heads) ** 0.5), once], axis=2).astype(np.float32)


def _normal(x_NW: Array) -> Array:
    width = np.float32(x_NW.shape[1])
    centred: Array = x_NW - (np.add.reduce(x_NW, axis=1) / width)[:, None]
    centred /= np.sqrt(np.einsum("nw,nw->n", centred, centred) / width + EPSILON)[:, None]
    return centred


def _gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1.0 + erf(x * HALF_ROOT)), np.float32)
