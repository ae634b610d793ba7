"""The words of the watermark: a 48-bit identifier with its checksum as 216 bits that survive many errors.

    coded = encode([0x0123456789AB])    # (1, 216) of -1 and +1
    decode(coded[0] + noise)            # 0x0123456789AB, or None when the checksum does not hold

CRC-16 finds a wrong word; a convolutional code of rate 1/3 and constraint length 9 (generators 557, 663, 711 octal,
free distance 18: the best of its size, Larsen 1973) with soft-decision Viterbi decoding repairs it.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

ID_BITS: Final = 48
CHECK_BITS: Final = 16
_MEMORY: Final = 8
_GENERATORS: Final = (0o557, 0o663, 0o711)
_STEPS: Final = ID_BITS + CHECK_BITS + _MEMORY
CODED_BITS: Final = _STEPS * len(_GENERATORS)


def encode(identifiers: Sequence[int]) -> FloatArray:
    """(N, 216) float32 of -1 and +1 for N identifiers.

    Raises:
        ValueError: for a number that is negative or has more than 48 bits.
    """
    for one in identifiers:
        if not 0 <= one < 1 << ID_BITS:
            raise ValueError(f"a watermark identifier has {ID_BITS} bits, got {one:#x}")
    words_N = np.array([one << CHECK_BITS | _checksum(one) for one in identifiers], np.uint64)
    outputs, _ = _trellis()
    state_N = np.zeros(len(words_N), np.int64)
    coded = np.empty((len(words_N), _STEPS, len(_GENERATORS)))
    for step in range(_STEPS):
        place = _STEPS - _MEMORY - 1 - step
        # the last eight bits are zeros, which bring the encoder back to where it began
        bit_N = (words_N >> np.uint64(place) & np.uint64(1)).astype(np.int64) if place >= 0 else np.zeros_like(state_N)
        coded[:, step] = outputs[state_N, bit_N]
        state_N = (bit_N << _MEMORY | state_N) >> 1
    return np.asarray(coded.reshape(-1, CODED_BITS) * _scrambler(), np.float32)


def decode(soft: FloatArray) -> int | None:
    """The identifier whose code word is nearest to what was received; None when its checksum does not hold.

    Args:
        soft: (216,), the sign is the bit and the size how sure it is.
    """
    if soft.shape != (CODED_BITS,):
        raise ValueError(f"soft must be ({CODED_BITS},), got {soft.shape}")
    outputs, origins = _trellis()
    received = (soft * _scrambler()).reshape(_STEPS, len(_GENERATORS))
    metric = np.full(1 << _MEMORY, -np.inf)
    metric[0] = 0.0
    choices = np.empty((_STEPS, 1 << _MEMORY), np.int64)
    states = np.arange(1 << _MEMORY)
    bits = states >> (_MEMORY - 1)
    for step in range(_STEPS):
        gains = metric[origins] + np.stack([outputs[origins[k], bits] @ received[step] for k in (0, 1)])
        better = (gains[1] > gains[0]).astype(np.int64)
        choices[step] = origins[better, states]
        metric = gains[better, states]
    state, word = 0, 0
    for step in reversed(range(_STEPS)):
        word |= (state >> (_MEMORY - 1)) << (_STEPS - 1 - step)
        state = int(choices[step, state])
    word >>= _MEMORY
    identifier, check = word >> CHECK_BITS, word & ((1 << CHECK_BITS) - 1)
    return identifier if check == _checksum(identifier) else None


def _checksum(identifier: int) -> int:
    # not from 0: a word of zeros must not be a valid one
    return binascii.crc_hqx(identifier.to_bytes(ID_BITS // 8, "big"), 0xFFFF)


@lru_cache(maxsize=1)
def _scrambler() -> FloatArray:
    """Fixed signs over the code word, so that similar identifiers do not give similar pictures' worth of signs."""
    random = np.random.default_rng(np.random.PCG64(0x436F756E746572))
    return np.asarray(random.choice([-1.0, 1.0], CODED_BITS), np.float32)


@lru_cache(maxsize=1)
def _trellis() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What leaves the encoder, (256 states, 2 bits, 3) of -1 and +1; where a state may come from, (2, 256)."""
    states = np.arange(1 << _MEMORY)
    outputs = np.empty((1 << _MEMORY, 2, len(_GENERATORS)))
    for bit in (0, 1):
        register = bit << _MEMORY | states
        for position, generator in enumerate(_GENERATORS):
            ones = np.zeros_like(register)
            for shift in range(_MEMORY + 1):
                if generator >> shift & 1:
                    ones ^= register >> shift & 1
            outputs[:, bit, position] = 1.0 - 2.0 * ones
    # a state forgets its lowest bit on the way to the next
    into = (states << 1) & ((1 << _MEMORY) - 1)
    return outputs, np.stack([into, into | 1])
