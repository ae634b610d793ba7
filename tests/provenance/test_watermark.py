from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from talking_scenes import psnr, scene, talking_scene

from media.clip import Clip
from media.perturb import perturb
from provenance.watermark import (
    FAINTEST_PSNR_DB,
    Watermarker,
    identifier_from,
    identifier_text,
    listen,
    mark_frames,
)

OWN = 0xC0FFEE123456
OTHERS = [int(one) for one in np.random.default_rng(9).integers(1 << 48, size=300)]


@cache
def original() -> Clip:
    return talking_scene(1, 1, frames=36)


@cache
def marked() -> Clip:
    return Clip(np.stack(list(mark_frames(original().frames, OWN))), original().fps)


def test_the_mark_is_faint_in_every_frame_and_does_not_flicker() -> None:
    for before, after in zip(original().frames, marked().frames, strict=True):
        assert psnr(before, after) >= FAINTEST_PSNR_DB
    marks = marked().frames.astype(np.float32) - original().frames
    # what changes from frame to frame is a small part of the mark
    assert np.diff(marks, axis=0).std() < 0.35 * marks.std()


def test_the_same_frames_and_identifier_give_the_same_bytes() -> None:
    again = np.stack(list(mark_frames(original().frames[:5], OWN)))
    assert np.array_equal(again, marked().frames[:5])
    assert not np.array_equal(np.stack(list(mark_frames(original().frames[:5], OWN + 1))), again)


@pytest.mark.parametrize(
    ("name", "level"),
    [("h264", 18), ("h264", 28), ("resize", 0.7), ("crop", 0.9), ("fps", 15), ("blur", 0.8), ("gamma", 1.25)],
)
def test_a_damaged_copy_leads_to_its_identifier(name: str, level: float) -> None:
    reading = listen(perturb(marked(), name, level).frames)
    assert reading is not None
    heard = reading.find([*OTHERS, OWN])
    assert heard is not None
    assert heard.identifier == OWN
    assert heard.known
    assert heard.confidence > 0.9999


def test_an_identifier_that_nobody_asked_for_is_decoded() -> None:
    reading = listen(perturb(marked(), "h264", 23).frames)
    assert reading is not None
    heard = reading.find()
    assert heard is not None
    assert (heard.identifier, heard.known) == (OWN, False)


def test_crop_mirror_and_enlargement_are_undone_and_told() -> None:
    frames = marked().frames[:, 6:178, 14:186]
    larger = [cv2.resize(image[:, ::-1], (300, 300), interpolation=cv2.INTER_CUBIC) for image in frames[::3]]
    reading = listen(np.asarray(one, np.uint8) for one in larger)
    assert reading is not None
    heard = reading.find([OWN])
    assert heard is not None
    assert heard.mirrored
    assert heard.scale == pytest.approx(172 / 192, abs=0.015)


def test_pictures_without_a_mark_lead_nowhere() -> None:
    for seed in range(3):
        reading = listen([scene(seed).astype(np.uint8)])
        assert reading is not None
        assert reading.find([*OTHERS, OWN]) is None


def test_another_mark_is_not_taken_for_one_that_is_asked_for() -> None:
    reading = listen(marked().frames[:12])
    assert reading is not None
    heard = reading.find(OTHERS)
    assert heard is None or (heard.identifier, heard.known) == (OWN, False)


@pytest.mark.parametrize("shape", [(384, 640), (640, 360), (255, 301)])
def test_a_still_picture_of_any_shape_carries_a_mark_through_jpeg(shape: tuple[int, int]) -> None:
    image = cv2.resize(scene(4, 512), shape[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    after = Watermarker(OWN).mark(image)
    assert psnr(image, after) >= FAINTEST_PSNR_DB
    jpeg = cv2.imdecode(cv2.imencode(".jpg", after, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_COLOR)
    reading = listen([np.asarray(jpeg, np.uint8)])
    assert reading is not None
    heard = reading.find([*OTHERS, OWN])
    assert heard is not None
    assert heard.identifier == OWN


def test_a_picture_too_small_for_a_mark_stays_as_it_is() -> None:
    tiny = scene(5, 48).astype(np.uint8)
    assert np.array_equal(Watermarker(OWN).mark(tiny), tiny)
    assert listen([tiny[:20, :20]]) is None
    assert listen([]) is None


def test_black_frames_have_nothing_to_say() -> None:
    reading = listen([np.zeros((128, 128, 3), np.uint8)] * 3)
    assert reading is not None
    assert reading.find([OWN]) is None


def test_an_identifier_is_written_as_twelve_digits_and_read_again() -> None:
    assert identifier_text(0xAB) == "0000000000ab"
    assert identifier_from("0000000000ab") == 0xAB
    for text in ("ab", "00000000000G", "0000000000AB", "0x00000000ab"):
        with pytest.raises(ValueError, match="twelve"):
            identifier_from(text)
