"""How a clip was encoded is read from its packets, without decoding any."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from media.clip import Clip, MediaError
from media.packets import PacketFacts, packet_facts
from media.video import write_clip


def test_packets_tell_how_a_clip_was_encoded(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(40, 216, (16, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    clip = Clip(np.stack([np.roll(noise, 2 * n, axis=1) for n in range(12)]), Fraction(25))
    write_clip(clip, tmp_path / "a.mp4", crf=18)
    write_clip(clip, tmp_path / "b.mp4", crf=40)
    a, b = packet_facts(tmp_path / "a.mp4"), packet_facts(tmp_path / "b.mp4")
    assert len(a.sizes) == 12
    assert a.is_key[0]
    assert a.keyframe_gap == 12
    assert a.sizes.sum() > 1.5 * b.sizes.sum()
    assert a.profile == "High"
    assert a.color_tags == "1/1/1/1"
    write_clip(clip, tmp_path / "c.mp4", preset="ultrafast")
    c = packet_facts(tmp_path / "c.mp4")
    assert (a.reordered, c.reordered) == (True, False), "ultrafast writes no B-frames"


def test_keyframes_are_counted_from_one_to_the_next() -> None:
    key = np.array([n in (0, 10, 20) for n in range(25)])
    facts = PacketFacts(np.ones(25, np.int64), key, "High", False, "1/1/1/1", "1/25", "", "")
    assert facts.keyframe_gap == 10


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError):
        packet_facts(tmp_path / "none.mp4")
    with pytest.raises(ValueError, match="P >= 1"):
        PacketFacts(np.zeros(0, np.int64), np.zeros(0, bool), "", False, "", "", "", "")
