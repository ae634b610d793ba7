import numpy as np
import pytest

from forge.motion.features import INDEX
from forge.motion.visemes import MOUTH_NAMES, OPENING, SHAPES, VISEMES, Mouth, mouth_from_visemes, targets

RATE = 100


def spoken(*parts: tuple[str, float], gain: float = 1.0) -> Mouth:
    """The mouth of a sequence of (viseme, seconds)."""
    rows = np.concatenate([np.full(round(seconds * RATE), VISEMES.index(name)) for name, seconds in parts])
    chance = np.eye(len(VISEMES), dtype=np.float32)[rows]
    return mouth_from_visemes(chance, np.full(rows.size, gain), np.zeros(rows.size), RATE)


def curve(mouth: Mouth, name: str) -> np.ndarray:
    return mouth.coefficients[:, MOUTH_NAMES.index(name)]


def test_every_viseme_has_a_shape_and_every_shape_names_real_coefficients() -> None:
    assert set(SHAPES) == set(VISEMES)
    assert set(MOUTH_NAMES) <= set(INDEX)
    assert targets().shape == (len(VISEMES), len(MOUTH_NAMES))
    assert targets().min() >= 0 and targets().max() <= 1


def test_silence_rests() -> None:
    assert not spoken(("silence", 1.0)).coefficients.any()


def test_vowels_differ_as_they_should() -> None:
    shape = {v: spoken(("silence", 0.2), (v, 0.4), ("silence", 0.2)).coefficients[40] for v in "aeiou"}
    jaw, pucker, stretch = (MOUTH_NAMES.index(n) for n in ("jawOpen", "mouthPucker", "mouthStretchLeft"))
    assert shape["a"][jaw] > shape["e"][jaw] > shape["i"][jaw]
    assert shape["u"][pucker] > shape["o"][pucker] > shape["a"][pucker] == 0
    assert shape["i"][stretch] > shape["a"][stretch]


@pytest.mark.parametrize("seconds", [0.04, 0.06, 0.1])
@pytest.mark.parametrize("vowel", ["a", "o", "i"])
def test_lips_close_for_at_least_a_frame_between_any_vowels(vowel: str, seconds: float) -> None:
    mouth = spoken(("silence", 0.2), (vowel, 0.3), ("p", seconds), (vowel, 0.3))
    middle = round((0.5 + seconds / 2) * RATE)
    shut = mouth.seal > 0.95
    assert shut[middle] and shut.sum() >= 4, "40 ms at least: one frame at 25 a second"
    others = OPENING & (np.asarray(MOUTH_NAMES) != "jawOpen")
    assert mouth.coefficients[middle][others].max() < 0.03
    assert curve(mouth, "mouthClose")[middle] == pytest.approx(curve(mouth, "jawOpen")[middle], abs=0.03)
    assert curve(mouth, "jawOpen")[20 + 15] > 0.15


def test_lips_stay_free_without_a_closure() -> None:
    assert spoken(("a", 0.3), ("t", 0.1), ("a", 0.3)).seal.max() == 0.0


def test_a_closure_lies_in_the_middle_of_its_sound() -> None:
    seal = spoken(("a", 0.5), ("p", 0.08), ("a", 0.5)).seal
    centre = float((seal * np.arange(seal.size)).sum() / seal.sum()) + 0.5
    assert centre / RATE == pytest.approx(0.54, abs=0.005)


def test_lips_round_before_a_rounded_vowel() -> None:
    mouth = spoken(("a", 0.3), ("t", 0.08), ("u", 0.3))
    assert curve(mouth, "mouthPucker")[36] > 0.15, "in the t already"


def test_lip_gain_opens_wider_but_a_closure_stays_a_closure() -> None:
    parts = (("a", 0.4), ("p", 0.08), ("a", 0.4))
    soft, wide, none = (spoken(*parts, gain=gain) for gain in (0.6, 1.5, 0.0))
    assert curve(wide, "jawOpen")[20] > 1.7 * curve(soft, "jawOpen")[20]
    assert curve(wide, "mouthUpperUpLeft")[44] < 0.03
    assert curve(none, "jawOpen").max() == 0.0


def test_a_breath_opens_a_silent_mouth_and_gives_way_to_a_closure() -> None:
    rows = np.repeat([VISEMES.index(v) for v in ("silence", "p", "a")], (60, 10, 30))
    chance = np.eye(len(VISEMES), dtype=np.float32)[rows]
    mouth = mouth_from_visemes(chance, np.ones(100), np.full(100, 0.15), RATE)
    assert curve(mouth, "jawOpen")[40] == pytest.approx(0.15, abs=0.01)
    assert curve(mouth, "jawOpen")[65] - curve(mouth, "mouthClose")[65] < 0.02


def test_even_a_shout_does_not_dislocate_the_jaw() -> None:
    assert 0.6 < curve(spoken(("a", 0.5), gain=4.0), "jawOpen").max() < 0.75


def test_coefficients_stay_between_nothing_and_one() -> None:
    rng = np.random.default_rng(0)
    chance = rng.dirichlet(np.full(len(VISEMES), 0.1), 500).astype(np.float32)
    mouth = mouth_from_visemes(chance, 2.0 * rng.random(500), 0.3 * rng.random(500), RATE)
    assert mouth.coefficients.min() >= 0 and mouth.coefficients.max() <= 1
    assert mouth.coefficients.dtype == np.float32
