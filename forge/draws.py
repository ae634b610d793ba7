"""Chance by key, by the thousand: the same numbers on every machine, under every version of numpy.

    raw_NC = raw_draws(["0/tiny/17", "0/tiny/18"], 19)      # PCG64, seeded by the SHA-256 of each key
    numbers = (raw_NC >> 11) * 2.0**-53                     # from 0 to 1
    shuffled(raw_NC[0], 6)                                  # (4, 0, 5, 1, 3, 2)

Axes: N keys, C draws.

A plan has a million pairs, and each would make a generator for twenty numbers; here the generators of many keys step
side by side. The bits are those of `numpy.random.PCG64(number)`, whose stream numpy promises to keep; what is made of
them (`Generator.permutation`) it does not promise, so that is written out, too.

Sources: M. O'Neill, PCG (2014), XSL-RR 128/64; seeding as in numpy's SeedSequence, after the same author's seed_seq.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UInt64Array = NDArray[np.uint64]

_POOL = 4
_MASK32, _SHIFT16, _SHIFT32 = 0xFFFFFFFF, np.uint32(16), np.uint64(32)
_INIT_A, _MULT_A, _INIT_B, _MULT_B = 0x43B0D7E5, 0x931E8875, 0x8B51F9DD, 0x58F38DED
_MIX_L, _MIX_R = np.uint32(0xCA01F9DD), np.uint32(0x4973F715)
_STEP_HIGH, _STEP_LOW = 2549297995355413924, 4865540595714422341
"""The 128-bit multiplier of PCG."""


def number_of(key: str) -> int:
    """128 bits of a key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big")


def raw_draws(keys: Sequence[str], count: int) -> UInt64Array:
    """(N, C) draws of 64 bits: the first `count` of `PCG64(number_of(key))` for every key."""
    digests = b"".join(hashlib.sha256(key.encode()).digest()[:16] for key in keys)
    words = np.frombuffer(digests, ">u4").reshape(-1, 4)[:, ::-1].astype(np.uint32)  # least first
    if (words[:, 3] == 0).any():  # a shorter number is seeded otherwise, and comes once in four billion
        return np.array([np.random.PCG64(number_of(key)).random_raw(count) for key in keys], np.uint64)
    seeds = _seeds(words)
    increment = _shifted_up(seeds[2], seeds[3])
    state = _add(*_step((np.uint64(0) * seeds[0], np.uint64(0) * seeds[0]), increment), seeds[0], seeds[1])
    state = _step(state, increment)
    out = np.empty((len(keys), count), np.uint64)
    for at in range(count):
        state = _step(state, increment)
        high, low = state
        turn = high >> np.uint64(58)
        mixed = high ^ low
        out[:, at] = (mixed >> turn) | (mixed << ((np.uint64(64) - turn) & np.uint64(63)))
    return out


def shuffled(raw: UInt64Array, size: int) -> tuple[int, ...] | None:
    """0 to `size` - 1 in the order in which the draws leave them; None when these are too few.

    Fisher-Yates from the end, with numbers of as many bits as are needed, and those that are too large left out.
    """
    order = list(range(size))
    halves = iter([half for draw in raw.tolist() for half in (draw & _MASK32, draw >> 32)])
    for last in range(size - 1, 0, -1):
        bits = (1 << last.bit_length()) - 1
        chosen = next((half & bits for half in halves if half & bits <= last), None)
        if chosen is None:
            return None
        order[last], order[chosen] = order[chosen], order[last]
    return tuple(order)


def _seeds(words: NDArray[np.uint32]) -> list[UInt64Array]:
    """SeedSequence's four 64-bit words (each (N,)) from the four 32-bit words (N, 4) of a number, least first."""
    constant = _INIT_A
    pool: list[NDArray[np.uint32]] = []

    def hashed(value: NDArray[np.uint32]) -> NDArray[np.uint32]:
        nonlocal constant
        value = value ^ np.uint32(constant)
        constant = constant * _MULT_A & _MASK32
        value = value * np.uint32(constant)
        return value ^ (value >> _SHIFT16)

    for column in range(_POOL):
        pool.append(hashed(words[:, column]))
    for source in range(_POOL):
        for target in range(_POOL):
            if source != target:
                mixed = _MIX_L * pool[target] - _MIX_R * hashed(pool[source])
                pool[target] = mixed ^ (mixed >> _SHIFT16)
    constant, halves = _INIT_B, []
    for at in range(2 * _POOL):
        value = pool[at % _POOL] ^ np.uint32(constant)
        constant = constant * _MULT_B & _MASK32
        value = value * np.uint32(constant)
        halves.append((value ^ (value >> _SHIFT16)).astype(np.uint64))
    return [halves[at] | halves[at + 1] << _SHIFT32 for at in range(0, 2 * _POOL, 2)]


Wide = tuple[UInt64Array, UInt64Array]
"""High and low half of 128-bit numbers."""


def _shifted_up(high: UInt64Array, low: UInt64Array) -> Wide:
    """Twice the number plus one: the increment of a stream must be odd."""
    one = np.uint64(1)
    return (high << one) | (low >> np.uint64(63)), (low << one) | one


def _add(high: UInt64Array, low: UInt64Array, more_high: UInt64Array, more_low: UInt64Array) -> Wide:
    total = low + more_low
    return high + more_high + (total < low), total


def _step(state: Wide, increment: Wide) -> Wide:
    """State x multiplier + increment, in 128 bits."""
    high, low = state
    product_high = high * np.uint64(_STEP_LOW) + low * np.uint64(_STEP_HIGH) + _high_half(low, _STEP_LOW)
    return _add(product_high, low * np.uint64(_STEP_LOW), *increment)


def _high_half(values: UInt64Array, factor: int) -> UInt64Array:
    """The upper 64 bits of 64 x 64 bits, by halves of 32."""
    mask = np.uint64(_MASK32)
    factor_low, factor_high = np.uint64(factor & _MASK32), np.uint64(factor >> 32)
    low, high = values & mask, values >> _SHIFT32
    middle = high * factor_low + (low * factor_low >> _SHIFT32)
    other = low * factor_high + (middle & mask)
    upper: UInt64Array = high * factor_high + (middle >> _SHIFT32) + (other >> _SHIFT32)
    return upper
