"""When was each viseme said? Forced alignment of a transcript's sounds to what the listener hears.

Axes: T hearing frames (100 a second), V = 15 visemes, S states of the transcript, D durations in frames.

    chance = viseme_chances(hear(speech))                   # (T, V)
    aligned = align_visemes(chance, [["th", "er"], ["p", BURST, "o", "i"]])
    aligned.visemes, aligned.confidence                     # [(start seconds, viseme)], 0 to 1

The order of the visemes is known, their times are not. A semi-Markov model (Ostendorf et al., 1996, "From HMM's to
segment models") gives every state a duration of its own, so that a vowel cannot swallow its neighbours; the best path
is found exactly, by dynamic programming. Between words, before the first and after the last there may be silence.

It knows the listener's mistakes only as far as `SAID_HEARD_FLOOR` forgives them. Whoever trains a listener on its
result teaches it order and durations, not new sounds: a sound that the listener never hears is placed by its
neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forge.motion.hearing import HEARING_HZ
from forge.motion.visemes import SILENCE, VISEMES

FloatArray = NDArray[np.float32]
Double = NDArray[np.float64]
Frames = NDArray[np.int64]

BURST = "burst"
"""State after p or b: the lips are apart already, the sound of the next viseme has not begun. Its viseme is er."""
BURST_VISEME = "er"

TYPICAL_SECONDS: dict[str, float] = {
    "p": 0.075, "f": 0.085, "th": 0.060, "t": 0.065, "k": 0.075, "ch": 0.095, "s": 0.095, "r": 0.060,
    "a": 0.090, "e": 0.085, "i": 0.075, "o": 0.090, "u": 0.080, "er": 0.060, BURST: 0.020,
}  # fmt: skip
"""Median duration in read speech."""
SPREAD_OF_LOG = 0.45
"""Standard deviation of the logarithm of a duration."""
DURATION_WEIGHT = 3.0
SHORTEST_FRAMES, LONGEST_SECONDS = 2, 0.45
SHORTEST_SILENCE_FRAMES = 7
"""Shorter gaps are the closure of a stop."""
SILENCE_COST = 3.0
"""Nats a pause between two words must earn."""
EXPECTED_WITHIN_SECONDS = 0.025
"""Standard deviation around an expected start: the step of a synthesiser's durations, or a little more."""
SAID_HEARD_FLOOR = 0.02
"""Chance of every viseme whatever is heard: one deaf moment must not decide about the whole path."""
PRIOR_WEIGHT = 0.4
"""How much of the listener's preference for frequent visemes is taken back."""
PRIORS: dict[str, float] = {
    "silence": 0.16, "p": 0.06, "f": 0.025, "th": 0.015, "t": 0.19, "k": 0.075, "ch": 0.025, "s": 0.065, "r": 0.035,
    "a": 0.125, "e": 0.055, "i": 0.085, "o": 0.05, "u": 0.05, "er": 0.06,
}  # fmt: skip
"""Share of frames in the listener's training material."""
NEVER = -1e18


@dataclass(frozen=True)
class Aligned:
    """A transcript on the time line."""

    visemes: list[tuple[float, str]]
    """(start seconds, viseme); the first starts at 0, each lasts until the next."""
    confidence: float
    """0 to 1: mean over the states of the chance that the listener gives to what should be heard there."""


@dataclass(frozen=True)
class _State:
    """One step of the transcript: a viseme with its durations, or a silence that may be left out."""

    viseme: int
    log_duration: Double | None
    """(D,) of SHORTEST.. frames; None marks an optional silence."""
    shortest: int
    expected: float | None = None
    """Start in frames."""


def align_visemes(
    chance: FloatArray, words: Sequence[Sequence[str]], expected: Sequence[float] | None = None
) -> Aligned | None:
    """Place the visemes of words on the time line.

    Args:
        chance: (T, V) chance of each viseme at each hearing frame, as `listener.viseme_chances` gives it.
        words: of each word its visemes in order; `BURST` may follow a "p".
        expected: rough start in seconds of every viseme of all words, where something is known of them.

    Returns:
        The best alignment, or None where the words do not fit into the time or there are none.

    Raises:
        ValueError: for chances of another shape or a viseme without a name, or not one expected start for each viseme.
    """
    if chance.ndim != 2 or chance.shape[1] != len(VISEMES):
        raise ValueError(f"chance must be (T, {len(VISEMES)}), got {chance.shape}")
    states = _states(words, expected)
    if len(states) < 2:
        return None
    emission = np.log((1 - SAID_HEARD_FLOOR) * chance.astype(np.float64) + SAID_HEARD_FLOOR / len(VISEMES))
    emission -= PRIOR_WEIGHT * np.log([PRIORS[viseme] for viseme in VISEMES])
    cumulative = np.concatenate([np.zeros((1, len(VISEMES))), np.cumsum(emission, axis=0)])  # (T + 1, V)
    starts = _best_path(cumulative, states)
    return None if starts is None else _aligned(chance, states, starts)


def _states(words: Sequence[Sequence[str]], expected: Sequence[float] | None) -> list[_State]:
    """Silence, word, silence, word, ..., silence."""
    count = sum(map(len, words))
    if expected is not None and len(expected) != count:
        raise ValueError(f"{count} visemes need as many expected starts, got {len(expected)}")
    starts = iter([HEARING_HZ * seconds for seconds in expected] if expected is not None else [None] * count)
    pause = _State(SILENCE, None, SHORTEST_SILENCE_FRAMES)
    states = [pause]
    for word in words:
        for name in word:
            if name not in TYPICAL_SECONDS:
                raise ValueError(f"no viseme is called {name!r}: use one of {', '.join(TYPICAL_SECONDS)}")
            shortest = 1 if name == BURST else SHORTEST_FRAMES
            longest = 6 if name == BURST else round(LONGEST_SECONDS * HEARING_HZ)
            frames = np.arange(shortest, longest + 1)
            off = np.log(frames / HEARING_HZ / TYPICAL_SECONDS[name]) / SPREAD_OF_LOG
            viseme = VISEMES.index(BURST_VISEME if name == BURST else name)
            states.append(_State(viseme, -0.5 * DURATION_WEIGHT * off**2, shortest, next(starts)))
        if word:
            states.append(pause)
    return states


def _best_path(cumulative: Double, states: list[_State]) -> Frames | None:
    """(S + 1,) frame at which each state starts, and the end; a silence that was left out starts where it ends."""
    length = cumulative.shape[0]
    best = np.full(length, NEVER)
    best[0] = 0.0
    origins = np.empty((len(states), length), np.int64)
    times = np.arange(length)
    for index, state in enumerate(states):
        heard = cumulative[:, state.viseme]
        if state.log_duration is None:
            cost = 0.0 if index in (0, len(states) - 1) else SILENCE_COST
            best, origins[index] = _after_silence(best, heard, cost, state.shortest)
            continue
        if state.expected is not None:
            best = best - 0.5 * ((times - state.expected) / (HEARING_HZ * EXPECTED_WITHIN_SECONDS)) ** 2
        durations = state.shortest + np.arange(len(state.log_duration))
        gain = np.concatenate([np.full(durations[-1], NEVER), best - heard])
        candidates = gain[times[:, None] + durations[-1] - durations[None]] + state.log_duration  # (T + 1, D)
        choice = candidates.argmax(axis=1)
        best = candidates[times, choice] + heard
        origins[index] = times - durations[choice]
    if best[-1] < 0.5 * NEVER:
        return None
    starts = np.empty(len(states) + 1, np.int64)
    starts[-1] = length - 1
    for index in reversed(range(len(states))):
        starts[index] = origins[index, starts[index + 1]]
    return starts


def _after_silence(best: Double, heard: Double, cost: float, shortest: int) -> tuple[Double, Frames]:
    """Best scores after a silence that may be left out, and the frame where it began."""
    times = np.arange(len(best))
    gain = best - heard
    highest = np.maximum.accumulate(gain)
    where = np.maximum.accumulate(np.where(gain >= highest, times, 0))
    late = np.maximum(times - shortest, 0)
    silent = np.where(times >= shortest, highest[late] + heard - cost, NEVER)
    silent[times < shortest] = NEVER
    skipped = best >= silent
    return np.where(skipped, best, silent), np.where(skipped, times, where[late])


def _aligned(chance: FloatArray, states: list[_State], starts: Frames) -> Aligned:
    """Times in seconds and the confidence."""
    timed: list[tuple[float, str]] = []
    trust: list[float] = []
    for state, start, end in zip(states, starts[:-1], starts[1:], strict=True):
        if end <= start:
            continue
        timed.append((int(start) / HEARING_HZ, VISEMES[state.viseme]))
        if state.log_duration is not None:
            trust.append(float(chance[start:end, state.viseme].mean()))
    if timed[0][0] > 0:
        timed.insert(0, (0.0, VISEMES[SILENCE]))
    return Aligned(timed, float(np.mean(trust)))
