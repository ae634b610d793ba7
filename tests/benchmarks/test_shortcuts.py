"""The shortcut audit finds what was planted, does not find what was not, and mends what can be mended."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from benchmarks import shortcut_probes, shortcuts
from benchmarks.shortcut_mending import (
    Treatment,
    balanced_weights,
    effective_clips,
    fine_detail,
    softening,
    treated,
)
from benchmarks.shortcut_nulls import null_row, write_null_fake
from benchmarks.shortcut_pictures import (
    background,
    background_mask,
    blockiness,
    colour,
    face_mask,
    luma_of,
    sharpness,
    stillness,
    zero_coefficients,
)
from benchmarks.shortcut_probes import (
    LIMIT,
    PROBES,
    People,
    ProbeFigures,
    dealt,
    folds,
    matrix,
    run_probe,
    strongest_of,
)
from benchmarks.shortcut_statistics import first_frame, from_json, glance, measure_clip, silence, to_json
from benchmarks.shortcuts import failing, name_statistics, verdict
from detect.metrics import Measure
from media.catalog import Catalog, Label, Sample
from media.clip import Clip, MediaError, UInt8Array, Waveform
from media.landmarks import BLENDSHAPE_INDEX, BLENDSHAPE_NAMES, LANDMARKS, FaceObservation
from media.perturb import perturb
from media.video import probe, read_clip, write_clip


def observation(
    centre: tuple[float, float] = (64, 64), width: float = 40, height: float = 50, jaw: float = 0.0
) -> FaceObservation:
    """A face whose landmarks lie on an ellipse."""
    angle = np.linspace(0, 2 * np.pi, LANDMARKS, endpoint=False)
    points = np.stack(
        [centre[0] + width / 2 * np.cos(angle), centre[1] + height / 2 * np.sin(angle), 0 * angle], axis=1
    )
    box = np.array([centre[0] - width / 2, centre[1] - height / 2, centre[0] + width / 2, centre[1] + height / 2])
    shapes = np.zeros(len(BLENDSHAPE_NAMES), np.float32)
    shapes[BLENDSHAPE_INDEX["jawOpen"]] = jaw
    return FaceObservation(box.astype(np.float32), points.astype(np.float32), shapes, np.eye(4, dtype=np.float32), 0.9)


class KnownFinder:
    """Finds a face in the middle of every picture; its mouth is as open as the picture is bright."""

    def __init__(self, **options: Any) -> None:
        self.asked = 0

    def find(self, image: UInt8Array) -> list[FaceObservation]:
        self.asked += 1
        side = min(image.shape[:2])
        return [
            observation((image.shape[1] / 2, image.shape[0] / 2), 0.3 * side, 0.4 * side, float(image.mean()) / 255)
        ]

    def measure(self, image: UInt8Array, box: Any, score: float = 1.0) -> FaceObservation | None:
        return self.find(image)[0]

    def close(self) -> None:
        pass


class BlindFinder(KnownFinder):
    def find(self, image: UInt8Array) -> list[FaceObservation]:
        return []


def texture(seed: int, size: int = 128, length: int = 12, *, still: bool = False) -> Clip:
    """A drifting texture with a tone that starts after 0.2 s."""
    noise = np.random.default_rng(seed).integers(40, 216, (size // 8, size // 8, 3), dtype=np.uint8)
    soft = noise.repeat(8, 0).repeat(8, 1)
    frames = np.stack([soft if still else np.roll(soft, 2 * n, axis=1) for n in range(length)])
    time = np.arange(length * 640) / 16_000
    tone = np.where(time >= 0.2, 0.4 * np.sin(2 * np.pi * 300 * time), 0.0)
    return Clip(frames, Fraction(25), Waveform(tone.astype(np.float32)[:, None], 16_000))


# ------------------------------------------------------------------------------------------ probes


def crowd(clips: int = 120, makers: int = 4, people: int = 24) -> People:
    synthetic = np.arange(clips) % 2 == 1
    person = tuple(f"p{n % people}{'s' if s else 'r'}" for n, s in enumerate(synthetic))
    maker = tuple(f"m{n // 2 % makers}" if s else "collection" for n, s in enumerate(synthetic))
    return People(synthetic, person, tuple(f"g{n}" for n in range(clips)), maker)


def test_a_planted_shortcut_fails_and_chance_passes() -> None:
    people = crowd()
    random = np.random.default_rng(0)
    planted = [{"a": float(s) + random.normal(0, 0.7)} for s in people.synthetic_N]
    found = run_probe(planted, people, 200)
    assert found.auc.value > 0.75
    assert found.auc.low > LIMIT
    assert found.passes is False
    assert found.sure
    chance = [run_probe([{"a": random.normal(), "b": random.normal()} for _ in planted], people, 20) for _ in range(6)]
    mean = float(np.mean([one.auc.value for one in chance]))
    assert abs(mean - 0.5) < 0.07, "leaving groups out must not push chance off one half"


def test_what_tells_makers_apart_but_not_real_from_forged_does_not_transfer() -> None:
    """Each maker has its own value; a new maker's tells nothing, a known one's tells all."""
    people = crowd(clips=160, makers=8, people=32)
    random = np.random.default_rng(1)
    place = {f"m{n}": value for n, value in enumerate(random.permutation(8) - 3.5)}
    rows = []
    for maker, synthetic in zip(people.maker_N, people.synthetic_N, strict=True):
        value = place[maker] if synthetic else 0.0
        rows.append({f"bump {n}": float(np.exp(-((value - n) ** 2))) + random.normal(0, 0.05) for n in range(-4, 5)})
    found = run_probe(rows, people, 100)
    assert found.known_makers.value > 0.9
    assert found.auc.value < found.known_makers.value - 0.1


def test_nobody_is_learned_from_and_judged() -> None:
    people = crowd()
    # one person is in both labels, one source in two people
    person = list(people.person_N)
    person[0], person[1] = "both", "both"
    source = list(people.source_N)
    source[2], source[41] = "shared", "shared"
    people = People(people.synthetic_N, person, source, people.maker_N)
    for leave_makers in (True, False):
        parts = folds(people, np.random.default_rng(0), leave_makers=leave_makers)
        assert len(parts) >= 4 - (not leave_makers)
        judged = np.sum([judge for _, judge in parts], axis=0)
        assert (judged == 1).all(), "every clip is judged once"
        for learn, judge in parts:
            assert not (learn & judge).any()
            for names in (people.person_N, people.source_N):
                assert not {names[i] for i in np.flatnonzero(learn)} & {names[i] for i in np.flatnonzero(judge)}
            if leave_makers:
                learned = {people.maker_N[i] for i in np.flatnonzero(learn & people.synthetic_N)}
                assert not learned & {people.maker_N[i] for i in np.flatnonzero(judge & people.synthetic_N)}


def test_one_maker_is_judged_with_people_left_out() -> None:
    people = crowd(makers=1)
    found = run_probe([{"a": float(s)} for s in people.synthetic_N], people, 50)
    assert found.auc.value == 1.0


def test_too_few_clips_are_said_and_not_scored() -> None:
    people = crowd(clips=10)
    found = run_probe([{"a": float(s)} for s in people.synthetic_N], people, 50)
    assert not found.auc.scored
    assert found.passes is None
    assert "8 are needed" in found.auc.reason
    assert verdict(found) == "not measured"


def test_clips_without_the_thing_are_left_out_and_a_constant_says_nothing() -> None:
    people = crowd()
    rows = [None if n < 20 else {"container": "mp4"} for n in range(120)]
    found = run_probe(rows, people, 50)
    assert found.clips == 100
    assert found.auc.value == 0.5
    assert found.passes


def test_weights_that_balance_a_nuisance_bring_its_probe_down() -> None:
    random = np.random.default_rng(0)
    people = crowd(clips=400, people=80)
    value = np.where(people.synthetic_N, 0.5, -0.5) + random.normal(0, 1, 400)
    rows = [{"a": float(v)} for v in value]
    weights = balanced_weights([rows], people)
    assert weights[people.synthetic_N].sum() == pytest.approx(200)
    assert weights[~people.synthetic_N].sum() == pytest.approx(200)

    def gap(weight: np.ndarray) -> float:
        s = people.synthetic_N
        return float(np.average(value[s], weights=weight[s]) - np.average(value[~s], weights=weight[~s]))

    assert abs(gap(weights)) < 0.2 * abs(gap(np.ones(400)))
    before = run_probe(rows, people, 50)
    after = run_probe(rows, People(people.synthetic_N, people.person_N, people.source_N, people.maker_N, weights), 50)
    assert before.auc.value > 0.7
    assert abs(after.auc.value - 0.5) < 0.1, "neither told apart nor turned round"
    real, synthetic = effective_clips(weights, people.synthetic_N)
    assert 50 < min(real, synthetic) <= 200


def test_words_become_columns_and_missing_values_a_flag() -> None:
    x, kept = matrix(
        [{"kind": "mp4", "v": 1.0}, None, {"kind": "webm", "v": float("nan")}, {"kind": "mp4", "v": 3.0}, {}]
    )
    assert kept.tolist() == [True, False, True, True, False]
    assert x.shape == (3, 3)
    assert x[:, 0].tolist() == [0.0, 1.0, 0.0]
    assert x[:, 1].tolist() == [1.0, 2.0, 3.0]
    assert x[:, 2].tolist() == [0.0, 1.0, 0.0]


def test_the_statistic_that_tells_most_is_named() -> None:
    labels = np.array([False, False, True, True])
    rows = [
        {"a": 1.0, "b": 5.0, "kind": "x"},
        {"a": 2.0, "b": 6.0, "kind": "x"},
        {"a": 1.5, "b": 3.0, "kind": "x"},
        None,
    ]
    assert strongest_of(rows, labels) == "b: 0.00"
    words = [{"kind": "mp4"}, {"kind": "mp4"}, {"kind": "webm"}, {"kind": "webm"}]
    assert strongest_of(words, labels) == "kind mp4: 0.00"
    assert strongest_of([{"0": 1.0}] * 4, labels) == ""


def test_large_groups_are_dealt_evenly() -> None:
    names = [f"p{n}" for n in range(12) for _ in range(n + 1)]
    parts = dealt(names, 4, np.random.default_rng(0))
    sizes = [sum(parts[name] == part for name in names) for part in range(4)]
    assert max(sizes) - min(sizes) <= 3


@pytest.mark.parametrize(
    ("value", "low", "high", "words"),
    [
        (0.55, 0.5, 0.6, "passes"),
        (0.55, 0.5, 0.7, "passes; by its interval it may fail"),
        (0.65, 0.62, 0.7, "fails"),
        (0.65, 0.5, 0.8, "fails; by its interval it may pass"),
    ],
)
def test_the_verdict_says_what_the_interval_allows(value: float, low: float, high: float, words: str) -> None:
    figures = ProbeFigures(10, Measure(value, low, high), Measure(0.5))
    assert verdict(figures) == words
    assert failing({"x": figures}) == (["x"] if value > LIMIT else [])


# ------------------------------------------------------------------------------------------ statistics


def test_silence_is_found_where_it_is(tmp_path: Path) -> None:
    time = np.arange(32_000) / 16_000
    tone = np.where((time >= 0.5) & (time < 1.6), 0.5 * np.sin(2 * np.pi * 220 * time), 0.0).astype(np.float32)
    clip = Clip(np.zeros((50, 16, 16, 3), np.uint8), Fraction(25), Waveform(tone[:, None], 16_000))
    write_clip(clip, tmp_path / "a.mp4")
    found = silence(tmp_path / "a.mp4")
    assert float(found["leading"]) == pytest.approx(0.5, abs=0.06)
    assert float(found["trailing"]) == pytest.approx(0.4, abs=0.08)
    assert float(found["share"]) == pytest.approx(0.45, abs=0.06)
    write_clip(Clip(clip.frames, clip.fps), tmp_path / "b.mp4")
    assert silence(tmp_path / "b.mp4") == {}


def test_masks_leave_out_what_they_say() -> None:
    face = observation()
    inside = face_mask((128, 128), face)
    assert inside[64, 64]
    assert not inside[64, 100]
    outside = background_mask((128, 128), face)
    assert not outside[64, 64]
    assert not outside[30, 64], "hair"
    assert not outside[120, 5], "clothes"
    assert outside[5, 5]
    assert outside[40, 120]
    assert not (inside & outside).any()


def test_the_background_is_measured_without_the_face() -> None:
    random = np.random.default_rng(0)
    image = np.full((128, 128, 3), 90, np.uint8)
    other = image.copy()
    mask = background_mask(image.shape, observation())
    other[~mask] = random.integers(0, 255, (int((~mask).sum()), 3), dtype=np.uint8)
    plain, noisy = background([image], [mask]), background([other], [mask])
    assert plain["mean L"] == pytest.approx(float(noisy["mean L"]), abs=2)
    image[mask] = 200
    assert float(background([image], [mask])["mean L"]) > float(plain["mean L"]) + 50
    nothing = background([image], [np.zeros((128, 128), bool)])
    assert all(np.isnan(float(value)) for value in nothing.values())


def test_a_still_background_is_told_from_a_moving_one() -> None:
    mask = background_mask((128, 128), observation())

    def pairs(clip: Clip) -> list[tuple[UInt8Array, UInt8Array]]:
        return [(clip.frames[n], clip.frames[n + 1]) for n in (0, 5, 10)]

    still, moving = (stillness(pairs(texture(0, still=s)), [mask] * 3) for s in (True, False))
    assert still["exactly still"] == 1.0
    assert float(moving["exactly still"]) < 0.9
    assert float(moving["over the clip"]) > float(still["over the clip"]) + 1


def test_blocks_and_lost_detail_show_compression() -> None:
    noise = np.random.default_rng(0).normal(128, 25, (128, 128, 1)).clip(0, 255).astype(np.uint8)
    clip = Clip(np.repeat(noise, 3, axis=-1)[None], Fraction(25))
    coarse = perturb(clip, "jpeg", 10)
    before, after = luma_of(clip.frames[0]), luma_of(coarse.frames[0])
    assert blockiness(after, 8) > 1.5 > 1.2 > blockiness(before, 8) > 0.8
    assert zero_coefficients(after) > zero_coefficients(before) + 0.4


def test_sharpness_falls_with_blur_and_colour_moves_with_colour() -> None:
    clip = texture(3)
    soft, dark = perturb(clip, "blur", 3), perturb(clip, "brightness", -40)
    assert float(sharpness([soft.frames[0]])["fine"]) < float(sharpness([clip.frames[0]])["fine"]) - 0.5
    before, after = colour([clip.frames[0]]), colour([dark.frames[0]])
    assert len(before) == 14, "a name given twice would lose a statistic"
    assert float(after["mean L"]) < float(before["mean L"]) - 20


def test_a_first_frame_that_is_unlike_the_others_shows(tmp_path: Path) -> None:
    clip = texture(1, still=True)
    frames = clip.frames.copy()
    frames[0] = frames[0] // 2
    write_clip(Clip(frames, clip.fps), tmp_path / "a.mp4")
    write_clip(Clip(clip.frames, clip.fps), tmp_path / "b.mp4")
    finder: Any = KnownFinder()
    odd, usual = (first_frame(glance(tmp_path / name, finder)) for name in ("a.mp4", "b.mp4"))
    assert float(odd["jawOpen"]) < -0.1
    assert abs(float(usual["jawOpen"])) < 0.02
    assert float(odd["start"]) > float(usual["start"]) + 1


def test_every_group_is_measured_and_kept_whole(tmp_path: Path) -> None:
    write_clip(texture(0), tmp_path / "a.mp4")
    finder: Any = KnownFinder()
    found = measure_clip(tmp_path / "a.mp4", finder, lambda pictures: np.arange(3.0))
    assert {one.group for one in PROBES.values()} - set(found) == {"names"}
    again = from_json(json.loads(json.dumps(to_json(found))))
    assert to_json(again) == to_json(found)
    assert found["_box"]["x0"] == pytest.approx(64 - 0.15 * 128)
    assert float(found["crop"]["width"]) == pytest.approx(0.3)
    blind: Any = BlindFinder()
    nobody = measure_clip(tmp_path / "a.mp4", blind, lambda pictures: np.arange(3.0))
    assert np.isnan(float(nobody["_box"]["x0"]))
    assert "background, network" not in nobody


def test_names_in_order_of_the_label_are_found() -> None:
    people = crowd()
    samples = [
        Sample(f"s{n}", f"{'b' if s else 'a'}{n:04d}.mp4", Label.SYNTHETIC if s else Label.REAL, f"{n:064x}")
        for n, s in enumerate(people.synthetic_N)
    ]
    rows = name_statistics(Catalog(samples))
    assert run_probe(rows, people, 50).auc.value > 0.95
    digests = np.random.default_rng(0).permutation(120)
    shuffled = [Sample(s.id, f"{digests[n]:04d}.mp4", s.label, s.sha256) for n, s in enumerate(samples)]
    order = Catalog(sorted(shuffled, key=lambda s: s.path))
    people = crowd().only(np.ones(120, bool))
    labels = np.array([s.label is Label.SYNTHETIC for s in order])
    people = People(
        labels, tuple(s.id for s in order), tuple(s.id for s in order), tuple(f"m{s.id[-1]}" for s in order)
    )
    assert run_probe(name_statistics(order), people, 50).auc.value < 0.65


# ------------------------------------------------------------------------------------------ nulls and mending


def test_a_null_fake_is_cropped_marked_and_encoded_like_a_makers_clip(tmp_path: Path) -> None:
    clip = texture(0, size=200, length=30)
    finder: Any = KnownFinder()
    write_null_fake(clip, "c1", tmp_path / "null.mp4", finder)
    facts = probe(tmp_path / "null.mp4")
    assert (facts.width, facts.height, facts.length) == (256, 256, 30)
    assert facts.sample_rate_hz == 16_000
    write_null_fake(clip, "c1", tmp_path / "again.mp4", finder)
    assert (tmp_path / "null.mp4").read_bytes() == (tmp_path / "again.mp4").read_bytes()
    blind: Any = BlindFinder()
    with pytest.raises(MediaError, match="no face was found"):
        write_null_fake(clip, "c1", tmp_path / "none.mp4", blind)


def test_null_fakes_that_score_synthetic_are_counted() -> None:
    lines = [{"id": str(n), "person": f"p{n}", "plain": 0.2, "null": 0.2 + 0.6 * (n < 3)} for n in range(12)]
    lines.append({"id": "x", "person": "p", "plain": None, "null": 0.9})
    rows = {row["figure"]: row for row in null_row(lines, 0.5)}
    assert rows["false-positive rate, as they are"]["value"] == "0.000"
    assert rows["false-positive rate, null fakes"]["value"] == "0.250"
    assert rows["mean shift of the probability"]["value"] == "0.150"
    assert rows["answered both times"]["value"] == "12 of 13"
    assert "not scored" in str(null_row(lines[-1:], 0.5)[0]["value"])


def test_treated_clips_are_alike_in_light_and_sharpness() -> None:
    treatment = Treatment(noise=0.0)
    sharp, dark = texture(0).frames, perturb(texture(1), "brightness", -40).frames
    target = fine_detail(sharp[0]) - 1.5
    first, second = (treated(list(frames), treatment, target, 0)[0] for frames in (sharp, dark))
    assert abs(fine_detail(first) - target) < 0.3
    assert abs(fine_detail(second) - target) < 0.3
    a, b = colour([first]), colour([second])
    assert float(a["mean L"]) == pytest.approx(float(b["mean L"]), abs=4)
    assert float(a["spread L"]) == pytest.approx(float(b["spread L"]), rel=0.35)
    assert softening(np.full((32, 32, 3), 90, np.uint8), 5.0) == 0.0


def test_a_treatment_that_cannot_be_filmed_is_refused() -> None:
    for wrong in ({"seconds": 0.0}, {"size": 255}, {"detail": 300}, {"factor": 0.9}, {"crf_ladder": ()}):
        with pytest.raises(ValueError, match="got Treatment"):
            Treatment(**wrong)


def biased_dataset(folder: Path, clips: int = 20) -> Path:
    """Synthetic clips are darker, smaller and silent."""
    rows = ["file,label,method,person,split"]
    for number in range(clips):
        synthetic = number % 2 == 1
        clip = texture(number, size=96 if synthetic else 128, length=5)
        if synthetic:
            clip = perturb(Clip(clip.frames, clip.fps), "brightness", -60)
        write_clip(clip, folder / f"c{number}.mp4", preset="ultrafast")
        label, maker = ("synthetic", f"m{number // 2 % 3}") if synthetic else ("real", "camera")
        rows.append(f"c{number}.mp4,{label},{maker},p{number // 2}{label},val")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder / "clips.csv"


def test_the_command_audits_and_mends_a_biased_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcuts, "FaceFinder", KnownFinder)
    # a few folds tell as much here
    monkeypatch.setattr(shortcut_probes, "DRAWS_OF_FOLDS", 1)
    monkeypatch.setattr(shortcut_probes, "MOST_FOLDS", 3)
    table = biased_dataset(tmp_path)
    app = Typer()
    app.command()(shortcuts.main)
    plain = ["-o", str(tmp_path / "out.json"), "--cache", str(tmp_path / "cache"), "--no-network", "--draws", "50"]
    gated = CliRunner().invoke(app, [str(table), *plain, "--gate"])
    assert gated.exit_code == 3, "a release with shortcuts is stopped"
    mending = ["--mend", str(tmp_path / "mended"), "--mend-seconds", "0.5"]
    said = CliRunner().invoke(app, [str(table), *plain, *mending])
    assert said.exit_code == 0, said.output
    result = json.loads((tmp_path / "out.json").read_text())
    tables = {table["title"]: table["rows"] for table in result["tables"]}
    verdicts = {row["probe"]: row["at 0.60"] for row in tables["probes"]}
    assert verdicts["colour"].startswith("fails")
    assert verdicts["resolution"].startswith("fails")
    assert verdicts["sound"].startswith("fails")
    assert verdicts["marks"].startswith("passes")
    assert next(row for row in tables["probes"] if row["probe"] == "sound")["remedy"]
    mended = {row["probe"]: row["treated"] for row in tables["mended"]}
    assert mended["resolution"].startswith("0.500")
    assert mended["sound"].startswith("0.500")
    catalog = Catalog.load(tmp_path / "mended")
    assert len(catalog) == 20
    assert all(isinstance(s.extra["weight"], float) for s in catalog)
    assert {read_clip(tmp_path / "mended" / s.path).frames.shape[1:] for s in catalog.samples[:3]} == {(256, 256, 3)}


def test_nonsense_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    app = Typer()
    app.command()(shortcuts.main)
    said = CliRunner().invoke(app, [str(tmp_path / "none.csv"), "-o", str(tmp_path / "x.json")])
    assert said.exit_code == 1
    assert said.output.startswith("shortcuts: ")
    assert said.output.count("\n") == 1
