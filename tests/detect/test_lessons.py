from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from detect import lessons
from detect.detector import DetectError
from detect.lessons import SECONDS, Moment, lessons_of, measured, moment_of, twins
from detect.models.temporal import FLOW_FEATURES
from media.catalog import Label, Sample
from media.clip import Clip
from media.faces import FaceFinder
from media.video import write_clip


def drifting(count: int = 30, side: int = 160) -> Moment:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (side + 40, side + 40, 3)).astype(np.uint8)
    frames = np.stack([picture[t % 20 : t % 20 + side, 5 : 5 + side] for t in range(count)])
    points = rng.uniform(0.3, 0.7, (478, 2)) * side
    points[33], points[263] = (0.35 * side, 0.4 * side), (0.65 * side, 0.4 * side)
    points[10], points[152] = (0.5 * side, 0.2 * side), (0.5 * side, 0.8 * side)
    return Moment(frames, np.repeat(points[None], count, 0).astype(np.float32), Fraction(25))


def a_sample(path: str, digest: str = "0" * 64) -> Sample:
    return Sample("s", path, Label.REAL, digest, person="p")


def test_twins_are_measured_alike_and_differ() -> None:
    real, forged = twins(drifting(), "tremble", np.random.default_rng(1))
    assert real.shape == forged.shape == (1, len(FLOW_FEATURES))
    assert np.isfinite(real).all() and (real != forged).any()


def test_the_same_seed_gives_the_same_twins() -> None:
    a, b = (twins(drifting(), "slide", np.random.default_rng(2)) for _ in range(2))
    assert (a[0] == b[0]).all() and (a[1] == b[1]).all()


def test_moments_are_never_scaled_up_and_sides_are_even() -> None:
    moment = drifting(8)
    assert moment.scaled(400).frames.shape[1] == 160
    small = moment.scaled(101)
    assert small.frames.shape[1] == 100
    assert small.landmarks[0, 33] == pytest.approx(moment.landmarks[0, 33] * 100 / 160)


def test_every_whole_second_is_measured() -> None:
    moment = drifting(75)
    assert measured(moment.frames, moment.landmarks, 25).shape == (3, len(FLOW_FEATURES))
    assert measured(moment.frames[:14], moment.landmarks[:14], 25).shape == (1, len(FLOW_FEATURES))


def test_a_clip_without_a_face_and_a_picture_give_no_lesson(tmp_path: Path) -> None:
    write_clip(Clip(np.full((30, 64, 64, 3), 90, np.uint8), Fraction(25)), tmp_path / "grey.mp4")
    samples = [(a_sample("grey.mp4"), tmp_path / "grey.mp4", "p"), (a_sample("a.png"), tmp_path / "a.png", "p")]
    assert list(lessons_of(samples, ("slide",), tmp_path / "kept")) == [(), ()]


def test_an_unknown_forgery_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DetectError, match="known are slide"):
        list(lessons_of([], ("hope",), tmp_path))


def test_lessons_are_kept_and_a_damaged_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def found(path: Path, rng: np.random.Generator, finder: FaceFinder) -> Moment:
        asked.append(path)
        return drifting()

    monkeypatch.setattr(lessons, "moment_of", found)
    samples = [(a_sample("a.mp4", "1" * 64), tmp_path / "a.mp4", "ada")]
    first = next(iter(lessons_of(samples, ("slide", "linger"), tmp_path / "kept")))
    assert [(x.maker, x.synthetic, x.person) for x in first] == [
        ("slide", False, "ada"),
        ("slide", True, "ada"),
        ("linger", False, "ada"),
        ("linger", True, "ada"),
    ]
    again = next(iter(lessons_of(samples, ("slide", "linger"), tmp_path / "kept")))
    assert len(asked) == 2 and all((a.windows == b.windows).all() for a, b in zip(first, again, strict=True))
    more = next(iter(lessons_of(samples, ("slide", "linger", "tremble"), tmp_path / "kept")))
    assert len(asked) == 3 and len(more) == 6
    other = [(replace(samples[0][0], sha256="2" * 64), *samples[0][1:])]
    list(lessons_of(other, ("slide",), tmp_path / "kept"))
    assert len(asked) == 4
    next((tmp_path / "kept").glob("*.npz")).write_bytes(b"torn")
    with pytest.raises(DetectError, match="remove it"):
        list(lessons_of([*samples, *other], ("slide",), tmp_path / "kept"))


def test_a_real_clip_gives_a_moment_of_its_face(data_pack: Path) -> None:
    with FaceFinder(max_faces=1) as finder:
        moment = moment_of(data_pack / "clips" / "c0001.mp4", np.random.default_rng(0), finder)
    assert moment is not None and len(moment.frames) == SECONDS * 25
    height = moment.frames.shape[1]
    assert moment.frames.shape[2] == height and (moment.landmarks.mean(axis=(0, 1)) / height > 0.25).all()
