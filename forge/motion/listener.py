"""The ear of the baseline: a small convolutional network from log-mel bands to the chance of each viseme.

Axes: T hearing frames (100 a second), C channels, V = 15 visemes.

    chance = viseme_chances(hear(speech))    # (T, 15), rows sum to 1

There are two: `shipped_listener` looks 0.2 s to both sides, `live_listener` at most 40 ms ahead, for speech that is
still being spoken. The network knows no language and no words. It is trained by
`forge.motion.train_baseline`; here it is plain numpy, because loading torch costs more time than ten minutes of
speech do. What it does not know: whispering, singing with long vowels and several voices at once were hardly in its
training material, and lips that close without a sound it cannot hear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load
from scipy.ndimage import maximum_filter1d

from forge.motion.hearing import BANDS, Heard
from forge.motion.visemes import SILENCE, VISEMES

FloatArray = NDArray[np.float32]

CHANNELS = 96
ENTRY_TAPS = 5
BLOCKS = 6


@dataclass(frozen=True)
class Span:
    """How far the convolutions look: dilation of each block, and frames ahead of the entry and of each block."""

    dilations: tuple[int, ...]
    ahead: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse spans of another network."""
        if len(self.dilations) != BLOCKS or len(self.ahead) != BLOCKS + 1:
            raise ValueError(f"a span has {BLOCKS} dilations and {BLOCKS + 1} looks ahead, got {self}")

    @property
    def after(self) -> int:
        """Frames after its own that a chance depends on."""
        return sum(self.ahead)

    @property
    def before(self) -> int:
        """Frames before its own that a chance depends on."""
        return ENTRY_TAPS - 1 + 2 * sum(self.dilations) - self.after


WHOLE = Span(dilations=(1, 2, 4, 8, 4, 2), ahead=(2, 1, 2, 4, 8, 4, 2))
LIVE = Span(dilations=(1, 2, 4, 8, 4, 1), ahead=(2, 1, 0, 0, 0, 0, 1))
CHUNK = 3000
EPSILON = 1e-5
QUIET_FRAMES, QUIET_DB = 15, -42.0
WEIGHTS = "assets/listener.safetensors"
LIVE_WEIGHTS = "assets/listener_live.safetensors"


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the network; convolutions are (taps, in, out)."""
    shapes: dict[str, tuple[int, ...]] = {"entry.weight": (ENTRY_TAPS, BANDS, CHANNELS), "entry.bias": (CHANNELS,)}
    for block in range(BLOCKS):
        shapes[f"block{block}.scale"] = (CHANNELS,)
        shapes[f"block{block}.shift"] = (CHANNELS,)
        shapes[f"block{block}.wide.weight"] = (3, CHANNELS, CHANNELS)
        shapes[f"block{block}.wide.bias"] = (CHANNELS,)
        shapes[f"block{block}.point.weight"] = (1, CHANNELS, CHANNELS)
        shapes[f"block{block}.point.bias"] = (CHANNELS,)
    shapes |= {"exit.scale": (CHANNELS,), "exit.shift": (CHANNELS,)}
    shapes |= {"exit.weight": (1, CHANNELS, len(VISEMES)), "exit.bias": (len(VISEMES),)}
    return shapes


@dataclass(frozen=True, eq=False)
class Listener:
    """The network's weights."""

    tensors: Mapping[str, FloatArray]
    span: Span = WHOLE

    def __post_init__(self) -> None:
        """Refuse weights of another network."""
        found = {name: tensor.shape for name, tensor in self.tensors.items()}
        if found != expected_shapes():
            wrong = sorted(
                name for name in {*found, *expected_shapes()} if found.get(name) != expected_shapes().get(name)
            )
            raise ValueError(f"these are not the listener's weights: {len(wrong)} tensors differ, first {wrong[0]}")

    @classmethod
    def from_bytes(cls, data: bytes, span: Span = WHOLE) -> Listener:
        """Weights as written by `train_baseline`.

        Raises:
            ValueError: when the bytes are not safetensors of this network.
        """
        try:
            return cls({name: tensor.astype(np.float32) for name, tensor in load(data).items()}, span)
        except SafetensorError as error:
            raise ValueError(f"the listener's weights cannot be read: {error}") from error

    def logits(self, bands: FloatArray) -> FloatArray:
        """(T, V) from (T, 80), by half minutes that overlap by the network's reach: any length in bounded memory."""
        out = np.empty((bands.shape[0], len(VISEMES)), np.float32)
        for start in range(0, bands.shape[0], CHUNK):
            first = max(0, start - self.span.before)
            last = min(bands.shape[0], start + CHUNK + self.span.after)
            end = min(bands.shape[0], start + CHUNK)
            out[start:end] = self._chunk(bands[first:last])[start - first : end - first]
        return out

    def _chunk(self, bands: FloatArray) -> FloatArray:
        """Logits of one stretch."""
        t, span = self.tensors, self.span
        x_TC = np.maximum(_convolve(bands, t["entry.weight"], t["entry.bias"], 1, span.ahead[0]), 0.0)
        for block, (dilation, ahead) in enumerate(zip(span.dilations, span.ahead[1:], strict=True)):
            y_TC = _normalise(x_TC, t[f"block{block}.scale"], t[f"block{block}.shift"])
            y_TC = _convolve(y_TC, t[f"block{block}.wide.weight"], t[f"block{block}.wide.bias"], dilation, ahead)
            y_TC = _convolve(
                np.maximum(y_TC, 0.0), t[f"block{block}.point.weight"], t[f"block{block}.point.bias"], 1, 0
            )
            x_TC = x_TC + y_TC
        x_TC = _normalise(x_TC, t["exit.scale"], t["exit.shift"])
        return _convolve(x_TC, t["exit.weight"], t["exit.bias"], 1, 0)


class RunningListener:
    """A listener that is told the bands as they come, and works out each hearing frame once.

        running = RunningListener(live_listener())
        logits = running.push(bands)      # (T', 15): the frames whose look ahead is complete now

    As `Listener.logits` of the whole sound, up to rounding; the same pieces give the same bits.
    """

    def __init__(self, listener: Listener) -> None:
        t, span = listener.tensors, listener.span
        self._tensors = t
        self._entry = _Convolving(t["entry.weight"], t["entry.bias"], 1, span.ahead[0])
        self._blocks = [
            _Convolving(t[f"block{block}.wide.weight"], t[f"block{block}.wide.bias"], dilation, ahead)
            for block, (dilation, ahead) in enumerate(zip(span.dilations, span.ahead[1:], strict=True))
        ]
        self._ahead = [np.zeros((0, CHANNELS), np.float32)] * BLOCKS
        """What went into each block and waits for what the block adds to it."""

    def push(self, bands: FloatArray) -> FloatArray:
        """(T', V) logits that these further (T, 80) bands complete."""
        t = self._tensors
        x_TC = np.maximum(self._entry.push(bands), 0.0)
        for block, wide in enumerate(self._blocks):
            y_TC = wide.push(_normalise_few(x_TC, t[f"block{block}.scale"], t[f"block{block}.shift"]))
            waiting = np.concatenate([self._ahead[block], x_TC])
            self._ahead[block] = waiting[len(y_TC) :]
            point = np.maximum(y_TC, 0.0) @ t[f"block{block}.point.weight"][0] + t[f"block{block}.point.bias"]
            x_TC = waiting[: len(y_TC)] + point
        x_TC = _normalise_few(x_TC, t["exit.scale"], t["exit.shift"])
        return np.asarray(x_TC @ t["exit.weight"][0] + t["exit.bias"], np.float32)


class _Convolving:
    """One convolution over time that remembers what it has yet to look back at."""

    def __init__(self, weight: FloatArray, bias: FloatArray, dilation: int, ahead: int) -> None:
        taps, channels, out = weight.shape
        self._flat, self._bias, self._taps, self._dilation = weight.reshape(taps * channels, out), bias, taps, dilation
        self._held = np.zeros(((taps - 1) * dilation - ahead, channels), np.float32)

    def push(self, x_TC: FloatArray) -> FloatArray:
        """(T', out) of the frames that are complete with these further ones."""
        held = np.concatenate([self._held, x_TC])
        count = max(0, len(held) - (self._taps - 1) * self._dilation)
        self._held = held[count:]
        seen = [held[tap * self._dilation : tap * self._dilation + count] for tap in range(self._taps)]
        return np.asarray(np.concatenate(seen, axis=1) @ self._flat + self._bias, np.float32)


def _convolve(x_TC: FloatArray, weight: FloatArray, bias: FloatArray, dilation: int, ahead: int) -> FloatArray:
    """Convolution over time with zero padding: (T, in) with (taps, in, out) to (T, out)."""
    padded = np.pad(x_TC, (((weight.shape[0] - 1) * dilation - ahead, ahead), (0, 0)))
    length = x_TC.shape[0]
    out = np.broadcast_to(bias, (length, bias.shape[0])).copy()
    for tap in range(weight.shape[0]):
        out += padded[tap * dilation : tap * dilation + length] @ weight[tap]
    return out


def _normalise(x_TC: FloatArray, scale: FloatArray, shift: FloatArray) -> FloatArray:
    """Layer normalisation over channels."""
    centred = x_TC - x_TC.mean(axis=1, keepdims=True)
    variance = np.square(centred).mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + EPSILON) * scale + shift, np.float32)


def _normalise_few(x_TC: FloatArray, scale: FloatArray, shift: FloatArray) -> FloatArray:
    """`_normalise` for a handful of rows, for which the calls cost more than the sums."""
    channels = np.float32(x_TC.shape[1])
    out: FloatArray = x_TC - (np.add.reduce(x_TC, axis=1) / channels)[:, None]
    out /= np.sqrt(np.einsum("tc,tc->t", out, out) / channels + np.float32(EPSILON))[:, None]
    out *= scale
    out += shift
    return out


@cache
def shipped_listener() -> Listener:
    """The weights that come with the package."""
    return Listener.from_bytes(files("forge.motion").joinpath(WEIGHTS).read_bytes())


@cache
def live_listener() -> Listener:
    """The weights for live speech that come with the package; they hear the bands of `hearing.Ear`."""
    return Listener.from_bytes(files("forge.motion").joinpath(LIVE_WEIGHTS).read_bytes(), LIVE)


def viseme_chances(heard: Heard, listener: Listener | None = None) -> FloatArray:
    """(T, V) chance of each viseme at each hearing frame; columns as `VISEMES`."""
    logits = (listener or shipped_listener()).logits(heard.bands)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    chance = shifted / shifted.sum(axis=1, keepdims=True)
    # where nothing was to be heard for a while nobody speaks; shorter gaps may be a closure
    nearby_db = maximum_filter1d(heard.level_db, 2 * QUIET_FRAMES + 1, mode="nearest")
    chance *= np.clip((nearby_db - QUIET_DB) / 6.0, 0.0, 1.0)[:, None]
    chance[:, SILENCE] += 1.0 - chance.sum(axis=1)
    return np.asarray(chance, np.float32)
