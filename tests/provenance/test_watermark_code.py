from __future__ import annotations

import numpy as np
import pytest

from provenance.watermark_code import CODED_BITS, ID_BITS, decode, encode


def test_every_identifier_comes_back() -> None:
    random = np.random.default_rng(1)
    identifiers = [0, (1 << ID_BITS) - 1, *(int(random.integers(1 << ID_BITS)) for _ in range(6))]
    for identifier, word in zip(identifiers, encode(identifiers), strict=True):
        assert decode(word) == identifier


def test_a_word_is_repaired_when_one_sign_in_six_is_wrong() -> None:
    random = np.random.default_rng(2)
    word = encode([0xABCDEF])[0]
    received = word + random.standard_normal(CODED_BITS).astype(np.float32)
    assert 0.1 < np.mean(np.sign(received) != word) < 0.25
    assert decode(received) == 0xABCDEF


def test_noise_is_no_word() -> None:
    random = np.random.default_rng(3)
    assert [decode(random.standard_normal(CODED_BITS).astype(np.float32)) for _ in range(40)] == [None] * 40


def test_words_of_neighbouring_identifiers_differ_in_many_signs() -> None:
    words = encode(list(range(64)))
    differ = (words[:, None] != words[None]).sum(-1) + CODED_BITS * np.eye(64, dtype=int)
    assert differ.min() >= 18


@pytest.mark.parametrize("identifier", [-1, 1 << ID_BITS])
def test_a_number_that_does_not_fit_is_refused(identifier: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        encode([identifier])


def test_a_received_word_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="216"):
        decode(np.zeros(10, np.float32))
