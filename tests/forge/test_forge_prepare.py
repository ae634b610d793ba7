"""A folder of talking videos becomes training shards: what is kept, what is refused and why, what a kill leaves."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from forge.mesh.face import MeshFace
from forge.motion.features import INDEX, Motion
from forge.portrait import ForgeError
from forge.prepare import list_videos, named_by_path, prepare, read_status, split_of
from forge.prepare_cuts import Cut, Sieve, cuts_of, filled, judged, runs, square_for
from forge.shard import Shard, load_shard, save_shard
from media.catalog import Catalog, Label
from media.clip import Clip, Waveform
from media.faces import FaceTrack
from media.video import read_image, write_clip

ADA = Path(__file__).resolve().parents[2] / "countermark" / "demo_assets" / "ada.webp"
CONSENT = "Ada Example agreed on 2026-03-01 to training"
FPS = Fraction(25)


def track_of(
    frames: list[int], x: float = 200.0, side: float = 100.0, step: float = 0.0, yaw: float = 0.0
) -> FaceTrack:
    """A face of a size that moves to the right by some pixels a frame."""
    n = len(frames)
    landmarks = np.zeros((n, 478, 3), np.float32)
    landmarks[:, 33, 0], landmarks[:, 263, 0] = 0, 0.5 * side
    low = np.array([[x + step * i, 150.0] for i in frames], np.float32)
    pose = np.eye(4, dtype=np.float32)
    turn = np.radians(yaw)
    pose[0, 0], pose[0, 2], pose[2, 0], pose[2, 2] = np.cos(turn), np.sin(turn), -np.sin(turn), np.cos(turn)
    return FaceTrack(
        np.array(frames, np.int32), np.array(frames) / 25.0, np.concatenate([low, low + side], 1), landmarks,
        np.zeros((n, 51), np.float32), np.repeat(pose[None], n, 0), np.ones(n, np.float32),
    )  # fmt: skip


def reasons(track: FaceTrack, others: tuple[FaceTrack, ...] = (), sieve: Sieve | None = None) -> list[str]:
    return [cut.reason.split(":")[0] for cut in cuts_of(track, others, 640, 480, sieve or Sieve())]


def test_a_long_track_is_divided_evenly_into_clips() -> None:
    cuts = list(cuts_of(track_of(list(range(500))), (), 640, 480, Sieve()))
    assert [(c.first, c.length) for c in cuts] == [(0, 166), (166, 167), (333, 167)]
    assert all(c.square is not None and not c.reason for c in cuts)


@pytest.mark.parametrize(
    ("track", "reason"),
    [
        (track_of(list(range(30))), "too short"),
        (track_of([i for i in range(100) if i % 3]), "the face was lost"),
        (track_of(list(range(100)), step=4.0), "the head leaves any square crop of the picture"),
        (track_of(list(range(100)), side=40.0), "the face is too small"),
        (track_of(list(range(100)), yaw=75.0), "turned away"),
        (track_of(list(range(100)), side=400.0), "the head leaves any square crop of the picture"),
    ],
)
def test_a_clip_is_refused_by_the_first_rule_that_it_breaks(track: FaceTrack, reason: str) -> None:
    assert reasons(track) == [reason]


def test_another_face_in_the_crop_refuses_a_clip_and_one_beside_it_does_not() -> None:
    track = track_of(list(range(100)))
    assert reasons(track, (track_of(list(range(50, 60)), x=260.0),)) == ["another face lies in the crop"]
    assert reasons(track, (track_of(list(range(100)), x=450.0),)) == [""]
    assert reasons(track, (track_of(list(range(100, 200)), x=260.0),)) == [""]


def test_a_gap_ends_a_run_and_a_missing_frame_does_not() -> None:
    assert list(runs(np.array([0, 1, 3, 4, 20, 21]), 2)) == [(0, 4), (4, 6)]


def test_frames_without_a_measurement_lie_between_their_neighbours() -> None:
    values = np.array([[0.0, 10.0], [2.0, 30.0]], np.float32)
    assert np.allclose(filled(np.array([5, 7]), values, 5, 3), [[0, 10], [1, 20], [2, 30]])


def test_the_square_never_moves_and_holds_every_box() -> None:
    boxes = track_of(list(range(50)), step=0.5).boxes
    square = square_for(boxes, 640, 480, Sieve())
    assert square is not None and all(square.contains(box) for box in boxes)


def test_a_cut_without_enough_measured_frames_keeps_its_place() -> None:
    track = track_of(list(range(0, 100, 2)))
    cut = judged(Cut(0, 99, np.arange(50)), track, (), 640, 480, Sieve())
    assert cut.first == 0 and cut.length == 99 and cut.square is None


@pytest.mark.parametrize(
    ("path", "person", "source"),
    [
        ("id00012/21Uxsk56VDQ/00001.mp4", "id00012", "id00012/21Uxsk56VDQ"),
        ("RD_Radio1_000.mp4", "RD_Radio1", "RD_Radio1"),
        ("obama/weekly_003.mp4", "obama", "obama/weekly"),
        ("talk.mp4", "talk", "talk"),
    ],
)
def test_people_and_sources_are_named_by_place(path: str, person: str, source: str) -> None:
    assert named_by_path(Path(path)) == (person, source)


def test_a_persons_split_depends_on_nothing_but_the_name() -> None:
    assert split_of("ada") == split_of("ada")
    assert {split_of(f"id{n:05d}") for n in range(200)} == {"train", "val"}


def test_nothing_is_prepared_without_consent_and_licence(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(ForgeError, match="no consent stated"):
        list_videos(tmp_path, None, "CC BY 4.0")
    with pytest.raises(ForgeError, match="no license stated"):
        list_videos(tmp_path, CONSENT, None)
    with pytest.raises(ForgeError, match="consent must say who agreed"):
        list_videos(tmp_path, "yes", "CC BY 4.0")
    (tmp_path / "clips.csv").write_text(f"file,person,consent,license,split\na.mp4,ada,{CONSENT},CC BY 4.0,val\n")
    (video,) = list_videos(tmp_path, None, None)
    assert (video.person, video.license, video.split) == ("ada", "CC BY 4.0", "val")


def test_an_empty_folder_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match="no videos in it"):
        list_videos(tmp_path, CONSENT, "CC0")


def test_a_shard_without_consent_cannot_be_made_and_damage_is_refused(tmp_path: Path) -> None:
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    points = np.random.default_rng(0).uniform(10, 50, (2, 478, 3)).astype(np.float32)
    zeros, silence = np.zeros((2, 51), np.float32), np.zeros(0, np.float32)
    with pytest.raises(ValueError, match="consent"):
        Shard(frames, points, zeros, np.zeros((2, 70), np.float32), silence, {"license": "CC0"})
    shard = Shard(frames, points, zeros, np.zeros((2, 70), np.float32), silence, {"license": "CC0", "consent": CONSENT})
    save_shard(tmp_path / "a.npz", shard)
    assert np.allclose(load_shard(tmp_path / "a.npz").landmarks, points, atol=0.05)
    (tmp_path / "a.npz").write_bytes(b"no shard")
    with pytest.raises(ForgeError, match="not a readable shard"):
        load_shard(tmp_path / "a.npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people's videos: a talking face with sound, and an empty wall."""
    root = tmp_path_factory.mktemp("videos")
    face = MeshFace.fit(read_image(ADA), 256)
    wave = np.sin(np.arange(55) / 4)
    motion = Motion.neutral(55, FPS).replace(jawOpen=0.2 + 0.2 * wave, yaw=5 * wave)
    sound = Waveform(np.full((2 * 16_000 + 3200, 1), 0.1, np.float32), 16_000)
    for person, frames in (
        ("ada", np.stack(list(face.render(motion)))),
        ("wall", np.full((55, 96, 96, 3), 90, np.uint8)),
    ):
        (root / person / "talk").mkdir(parents=True)
        write_clip(Clip(frames, FPS, sound), root / person / "talk" / "00001.mp4")
    return root


def test_a_folder_becomes_shards_a_catalog_and_reasons_and_a_second_run_does_nothing(
    folder: Path, tmp_path: Path
) -> None:
    rows: list[str] = []
    done = prepare(
        folder, tmp_path, consent=CONSENT, license="CC BY 4.0", on_video=lambda a, b, row: rows.append(row["file"])
    )
    assert (done.videos, done.kept, dict(done.refused)) == (2, 1, {"no face found": 1})
    (sample,) = Catalog.load(tmp_path).samples
    assert sample.label is Label.REAL and sample.person == "ada" and sample.consent == CONSENT
    shard = load_shard(tmp_path / sample.path)
    assert shard.frames.shape == (55, 256, 256, 3)
    assert shard.sound.shape == (35_200,) and shard.sound.mean() == pytest.approx(0.1, abs=0.02)
    yaw = shard.motion[:, INDEX["yaw"]]
    assert np.corrcoef(yaw, np.sin(np.arange(55) / 4))[0, 1] > 0.9
    assert yaw[shard.facts["reference"]] == pytest.approx(0.0, abs=1e-4)
    masks = shard.person_masks()
    assert masks[0][32, 32] and not masks[0][2, 2]
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "clips").iterdir()}
    again = prepare(folder, tmp_path, consent=CONSENT, license="CC BY 4.0")
    assert again.kept == 1 and before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "clips").iterdir()}


def test_a_killed_run_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    prepare(folder, tmp_path, consent=CONSENT, license="CC BY 4.0")
    status = tmp_path / "status.jsonl"
    first = status.read_text().splitlines()[0]
    shard = next((tmp_path / "clips").iterdir())
    status.write_text(first[: len(first) // 2])  # killed while the line was written
    (tmp_path / "clips" / ".half.npz.0000.part").write_bytes(b"half")
    shard.unlink()
    done = prepare(folder, tmp_path, consent=CONSENT, license="CC BY 4.0")
    assert done.kept == 1 and shard.is_file()
    assert [path.name for path in (tmp_path / "clips").iterdir()] == [shard.name]
    assert len(list(read_status(tmp_path))) == 2


def test_a_folder_of_other_settings_is_not_mixed_with(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sieve.json").write_text(json.dumps(replace(Sieve(), size=512).to_json(), sort_keys=True) + "\n")
    with pytest.raises(ForgeError, match="prepared with other settings"):
        prepare(folder, tmp_path, consent=CONSENT, license="CC BY 4.0")


def test_a_video_that_says_that_it_is_synthetic_is_refused(folder: Path, tmp_path: Path) -> None:
    from forge.portrait import Declaration
    from forge.sealing import synthetic_source_type
    from provenance.claims import Claim
    from provenance.signing import sign_file

    (tmp_path / "in").mkdir()
    claim = Claim(source_type=synthetic_source_type(Declaration.nonexistent()), action="created", title="a.mp4")
    sign_file(folder / "ada" / "talk" / "00001.mp4", tmp_path / "in" / "a.mp4", claim)
    done = prepare(tmp_path / "in", tmp_path / "out", consent=CONSENT, license="CC BY 4.0")
    assert done.kept == 0 and "synthetic" in str(next(iter(read_status(tmp_path / "out")))["refused"])


@pytest.mark.slow
def test_real_clips_of_the_pack_are_prepared(data_pack: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("c0001", "c0011"):
        shutil.copy(data_pack / "clips" / f"{name}.mp4", tmp_path / "in" / f"{name}.mp4")
    done = prepare(tmp_path / "in", tmp_path / "out", consent=CONSENT, license="research only")
    assert done.kept >= 2
