import numpy as np
import pytest
from safetensors.numpy import save

from forge.motion.hearing import Heard
from forge.motion.listener import (
    CHUNK,
    LIVE,
    WHOLE,
    Listener,
    RunningListener,
    Span,
    expected_shapes,
    shipped_listener,
    viseme_chances,
)
from forge.motion.visemes import VISEMES


def random_listener(seed: int = 0, span: Span = WHOLE) -> Listener:
    rng = np.random.default_rng(seed)
    return Listener({n: (0.1 * rng.standard_normal(s)).astype(np.float32) for n, s in expected_shapes().items()}, span)


def test_a_long_sound_in_chunks_gives_what_one_pass_gives() -> None:
    listener = random_listener()
    bands = np.random.default_rng(1).standard_normal((2 * CHUNK + 77, 80)).astype(np.float32)
    whole = listener._chunk(bands)
    assert np.allclose(listener.logits(bands), whole, atol=1e-4)


@pytest.mark.parametrize("span", [WHOLE, LIVE])
def test_it_hears_no_farther_than_its_span(span: Span) -> None:
    listener = random_listener(span=span)
    bands = np.random.default_rng(1).standard_normal((300, 80)).astype(np.float32)
    changed = bands.copy()
    changed[150] += 1.0
    moved = np.flatnonzero(np.abs(listener.logits(bands) - listener.logits(changed)).max(axis=1) > 0)
    assert moved.min() == 150 - span.after and moved.max() == 150 + span.before


@pytest.mark.parametrize("span", [WHOLE, LIVE])
def test_told_in_pieces_it_hears_what_it_hears_in_the_whole(span: Span) -> None:
    listener = random_listener(span=span)
    bands = np.random.default_rng(1).standard_normal((120, 80)).astype(np.float32)
    running = RunningListener(listener)
    told = [running.push(piece) for piece in np.split(bands, [1, 2, 9, 50, 54, 58])]
    assert [sum(map(len, told[: n + 1])) for n in range(7)] == [
        max(0, heard - span.after) for heard in (1, 2, 9, 50, 54, 58, 120)
    ]
    assert np.allclose(np.concatenate(told), listener.logits(bands)[: 120 - span.after], atol=1e-4)


def test_the_live_listener_waits_for_no_more_than_the_next_video_frame() -> None:
    assert LIVE.after == 4


def test_chances_sum_to_one() -> None:
    heard = Heard(np.random.default_rng(1).standard_normal((50, 80)).astype(np.float32), np.zeros(50, np.float32))
    chance = viseme_chances(heard, random_listener())
    assert chance.shape == (50, len(VISEMES))
    assert np.allclose(chance.sum(axis=1), 1.0, atol=1e-5)


def test_nobody_speaks_where_nothing_is_heard_for_a_while_but_a_short_gap_may_be_a_closure() -> None:
    level = np.zeros(200, np.float32)
    level[40:48] = level[100:160] = -60.0
    heard = Heard(np.random.default_rng(1).standard_normal((200, 80)).astype(np.float32), level)
    silence = viseme_chances(heard, random_listener())[:, VISEMES.index("silence")]
    assert silence[130] == pytest.approx(1.0, abs=1e-5)
    assert silence[44] < 0.9


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match="not the listener's weights"):
        Listener({"entry.weight": np.zeros((5, 80, 12), np.float32)})
    with pytest.raises(ValueError, match="cannot be read"):
        Listener.from_bytes(b"not safetensors")


def test_weights_survive_saving() -> None:
    listener = random_listener()
    again = Listener.from_bytes(save(dict(listener.tensors)))
    assert all(np.array_equal(again.tensors[name], tensor) for name, tensor in listener.tensors.items())


def test_the_shipped_listener_hears_silence_in_silence() -> None:
    heard = Heard(np.full((100, 80), -2.0, np.float32), np.full(100, -60.0, np.float32))
    assert viseme_chances(heard, shipped_listener())[:, VISEMES.index("silence")].min() > 0.7
