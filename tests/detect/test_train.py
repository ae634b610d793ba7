import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detect import train as training
from detect.detector import DetectError, Status
from detect.evaluate import evaluate, figures
from detect.lessons import Lesson
from detect.load import load_detector
from detect.models.frame import Description, FrameDetector
from detect.models.known import DRAWN, Known
from detect.models.network import FrameNet, network_crop, oval, start_from_imagenet, to_batch
from detect.models.temporal import FEATURES, FLOW_FEATURES
from detect.prepare import SIDE, FaceLook, Look
from detect.recipes import RECIPES, TrainRecipe, frame_tiny, recipe_named
from detect.splitting import Prepared, split_for_going_on, split_for_training, split_of_network
from detect.train import PairSource
from media.catalog import Catalog, Label, Sample


def a_face(seed: int, looks: int = 3, shift: float = 0.0) -> FaceLook:
    rng = np.random.default_rng(seed)
    crops = rng.integers(0, 255, (looks, SIDE, SIDE, 3)).astype(np.uint8)
    points = (128 + rng.normal(0, 25, (looks, 478, 2))).astype(np.float32)
    windows = (rng.normal(0, 1, (2, len(FEATURES))) + shift).astype(np.float32)
    boxes = np.tile(np.array([0, 0, 99, 99], np.float32), (looks, 1))
    return FaceLook(crops, points, np.arange(looks) * 0.8, boxes, windows, np.array([0.5, 1.5]), 60.0)


def prepared(count: int = 12) -> list[Prepared]:
    out = []
    for n in range(count):
        fake = n % 2 == 1
        label = Label.SYNTHETIC if fake else Label.REAL
        digest = hashlib.sha256(str(n).encode()).hexdigest()
        maker = f"maker{n % 3}" if fake else "studio"
        sample = Sample(f"s{n}", f"s{n}.mp4", label, digest, person=f"p{n}", maker=maker, split="train")
        out.append(Prepared(sample, a_face(n, shift=-1.5 if fake else 0.0)))
    return out


def test_makers_and_people_that_select_never_teach() -> None:
    split = split_for_training(prepared(24), frame_tiny(), seed=0)
    teach_people, check_people = {s.person for s in split.teach}, {s.person for s in split.check}
    assert not teach_people & check_people
    assert not {s.maker for s in split.teach if s.synthetic} & set(split.held_out_makers)
    assert {s.synthetic for s in split.check} == {True, False} == {s.synthetic for s in split.teach}


def test_where_every_maker_forged_everybody_held_out_people_select() -> None:
    everybody = [
        Prepared(replace(s.sample, id=f"{s.sample.id}/{maker}", label=label, maker=maker), s.face)
        for s in prepared(10)
        for label, maker in ((Label.REAL, "film"), (Label.SYNTHETIC, "swap"), (Label.SYNTHETIC, "drive"))
    ]
    split = split_for_training(everybody, frame_tiny(), seed=0)
    assert not {s.person for s in split.teach} & {s.person for s in split.check}
    assert {s.synthetic for s in split.check} == {True, False} == {s.synthetic for s in split.teach}


def test_the_split_depends_on_names_and_seed_and_not_on_the_order() -> None:
    samples = prepared(24)
    a, b = (split_for_training(x, frame_tiny(), seed=1) for x in (samples, samples[::-1]))
    assert {s.sample.id for s in a.check} == {s.sample.id for s in b.check}


def test_one_label_alone_cannot_train() -> None:
    with pytest.raises(DetectError, match="both labels"):
        split_for_training([s for s in prepared() if s.synthetic], frame_tiny(), 0)


def test_a_batch_is_half_real_and_half_forged_and_people_are_drawn_evenly() -> None:
    samples = prepared(4)
    star = [Prepared(replace(samples[0].sample, id=f"x{n}", path=f"x{n}.mp4"), a_face(50 + n)) for n in range(20)]
    source = PairSource([*samples, *star], frame_tiny())
    images, labels = source.batch(np.random.default_rng(0))
    assert images.shape == (8, 3, 64, 64) and labels.tolist() == pytest.approx([0.05] * 4 + [0.95] * 4)
    drawn = [source.real(np.random.default_rng(i))[0] for i in range(60)]
    other = sum(any((d == c).all() for c in samples[2].face.crops) for d in drawn)
    assert 15 <= other <= 45


def test_what_lies_outside_the_face_cannot_reach_the_network() -> None:
    picture = np.full((64, 64, 3), 200, np.uint8)
    changed = picture.copy()
    changed[:8, :8], changed[:8, -8:], changed[-5:, -5:] = 0, 0, 0
    assert torch.allclose(to_batch([picture]), to_batch([changed]), atol=1e-3)
    assert oval(64)[32, 32, 0] > 0.99


def test_the_network_crop_keeps_the_middle_of_the_face_in_the_middle() -> None:
    crop = np.zeros((SIDE, SIDE, 3), np.uint8)
    crop[120:136, 120:136] = 255
    small = network_crop(crop, 64)[..., 0].astype(float)
    y, x = np.indices(small.shape)
    assert (small * x).sum() / small.sum() == pytest.approx(31.5, abs=0.5)
    assert (small * y).sum() / small.sum() == pytest.approx(31.5, abs=0.5)


def test_imagenet_weights_fit_and_change_the_answer() -> None:
    network = FrameNet().eval()
    batch = to_batch([np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)])
    with torch.inference_mode():
        before = network.logits_and_surface(batch)[1]
        start_from_imagenet(network)
        after = network.logits_and_surface(batch)[1]
    assert not torch.allclose(before, after)


def some_lessons() -> list[Lesson]:
    rng = np.random.default_rng(9)
    shape = (2, len(FLOW_FEATURES))
    return [
        Lesson(forged, f"p{n}", "slide", (rng.normal(0, 1, shape) - forged).astype(np.float32))
        for n in range(0, 12, 2)
        for forged in (False, True)
    ]


@pytest.fixture(autouse=True)
def every_face_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The crops here are noise, which no photograph looks like."""
    monkeypatch.setattr(Known, "judge", lambda self, crops: "")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, samples = tmp_path_factory.mktemp("run"), prepared(12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "prepared_samples", lambda *a, **k: tuple(samples))
        patch.setattr(training, "lessons_from", lambda *a, **k: some_lessons())
        training.train(replace(frame_tiny(), max_steps=3), [(folder, Catalog([]))], folder, minutes=1)
    return folder


@pytest.fixture
def trained(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run" / "detector.safetensors"


def test_training_writes_weights_that_load_and_answer(trained: Path) -> None:
    detector = load_detector(trained)
    assert 0 < detector.facts.threshold < 1 and trained.stat().st_size < 20e6
    score = detector.score_look(Look(Status.OK, "", (a_face(3),), 2.0))
    assert 0 <= score.probability <= 1 and len(score.timeline) == 2
    assert (trained.parent / "log.jsonl").is_file() and (trained.parent / "recipe.json").is_file()


def test_a_run_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    split = split_for_training(prepared(16), frame_tiny(), 0)
    said: list[str] = []
    whole = training.Trainer(frame_tiny(), split, tmp_path, 0, said.append)
    whole.run(600)  # minutes: so many that the rate of learning hangs on the steps alone
    (tmp_path / "cut").mkdir()
    first = training.Trainer(replace(frame_tiny(), max_steps=6), split, tmp_path / "cut", 0, said.append)
    first.run(600)
    second = training.Trainer(frame_tiny(), split, tmp_path / "cut", 0, said.append)
    second.resume()
    assert second.progress.step == 6
    same = [
        torch.equal(a, b)
        for a, b in zip(whole.mean.state_dict().values(), second.mean.state_dict().values(), strict=True)
    ]
    assert all(same)


def refit(trained: Path, samples: list[Prepared], folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "prepared_samples", lambda *a, **k: tuple(samples))
        patch.setattr(training, "lessons_from", lambda *a, **k: some_lessons())
        return training.train(frame_tiny(), [(folder, Catalog([]))], folder, network=trained, version="7")


def test_a_kept_network_stays_as_it_is_while_the_branches_are_fitted_anew(trained: Path, tmp_path: Path) -> None:
    weights = refit(trained, prepared(24), tmp_path / "again")
    assert not (weights.parent / "checkpoint.pt").exists()
    before, after = (FrameDetector.load(w) for w in (trained, weights))
    kept = zip(before.network.state_dict().values(), after.network.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in kept)
    fresh = np.random.default_rng(1).normal(0, 1, (8, len(FEATURES))).astype(np.float32)
    assert (after.description.motion.scores(fresh) != before.description.motion.scores(fresh)).any()
    before, after = before.description, after.description
    assert after.unseen_people == before.unseen_people and after.version == "7"
    # the same command on what it wrote changes nothing
    again = refit(weights, prepared(24), tmp_path / "once more")
    assert again.with_suffix(".json").read_text() == weights.with_suffix(".json").read_text()


def test_people_that_may_have_taught_a_kept_network_never_check_it(trained: Path, tmp_path: Path) -> None:
    described = Description.from_json(json.loads(trained.with_suffix(".json").read_text()))
    split = split_of_network(prepared(24), described)
    assert {s.person for s in split.check if not s.synthetic} <= set(described.unseen_people)
    strangers = [s for s in prepared(24) if s.synthetic or s.person not in described.unseen_people]
    with pytest.raises(DetectError, match="not taught"):
        refit(trained, strangers, tmp_path / "again")


def test_training_starts_from_a_network_and_people_whom_that_may_have_met_check_nothing(
    trained: Path, tmp_path: Path
) -> None:
    start = FrameDetector.load(trained)
    split = split_for_training(prepared(24), frame_tiny(), seed=0)
    goes_on = split_for_going_on(split, start.description)
    checked = {s.person for s in goes_on.check if not s.synthetic}
    assert checked and checked <= set(start.description.unseen_people)
    assert {s.sample.id for s in (*goes_on.teach, *goes_on.check)} == {
        s.sample.id for s in (*split.teach, *split.check)
    }
    with pytest.raises(DetectError, match="give the seed"):
        split_for_going_on(split, replace(start.description, unseen_people=()))
    trainer = training.Trainer(frame_tiny(), goes_on, tmp_path, 0, print, start.network)
    same = zip(trainer.network.state_dict().values(), start.network.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


@pytest.mark.parametrize(
    ("share", "makers", "pairs", "chosen"),
    [(0.0, 0.9, 0.6, 0.6), (0.5, 0.9, 0.6, 0.75), (0.5, 0.9, float("nan"), 0.9), (0.0, float("nan"), 0.6, 0.6)],
)
def test_what_a_network_is_taught_chooses_the_checkpoint(
    share: float, makers: float, pairs: float, chosen: float, tmp_path: Path
) -> None:
    split = split_for_training(prepared(16), frame_tiny(), 0)
    trainer = training.Trainer(replace(frame_tiny(), synthetic_share=share), split, tmp_path, 0, print)
    assert trainer._chosen_by(makers, pairs) == pytest.approx(chosen)


def test_the_pairs_that_choose_are_of_held_out_people_and_always_the_same(tmp_path: Path) -> None:
    split = split_for_training(prepared(16), frame_tiny(), 0)
    met: list[str] = []

    class Watching(PairSource):
        def __init__(self, teach: list[Prepared], recipe: TrainRecipe) -> None:
            met.extend(s.person for s in teach)
            super().__init__(teach, recipe)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "PairSource", Watching)
        patch.setattr(training, "CHECKED_BATCHES", 1)
        first, second = (training.Trainer(frame_tiny(), split, tmp_path, 0, print) for _ in range(2))
    assert met and not set(met) & {s.person for s in split.teach}
    assert len(first._checked) == 2 * frame_tiny().pairs
    assert all((a == b).all() for a, b in zip(first._checked, second._checked, strict=True))


def test_weights_and_description_that_do_not_belong_together_are_refused(trained: Path) -> None:
    trained.write_bytes(trained.read_bytes()[:-1] + b"x")
    with pytest.raises(DetectError, match="not the weights"):
        FrameDetector.load(trained)


def test_a_description_of_another_kind_is_refused(trained: Path) -> None:
    beside = trained.with_suffix(".json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"kind": "other"}))
    with pytest.raises(DetectError, match="kind"):
        FrameDetector.load(trained)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(DetectError, match=r"none\.safetensors"):
        load_detector(tmp_path / "none.safetensors")


def test_a_description_survives_json(trained: Path) -> None:
    first = Description.from_json(json.loads(trained.with_suffix(".json").read_text()))
    again = Description.from_json(json.loads(json.dumps(first.to_json())))
    assert again.to_json() == first.to_json() and len(again.motion.features) > 200


def test_a_face_without_detail_is_not_judged(trained: Path) -> None:
    detector = load_detector(trained)
    flat = replace(a_face(0), crops=np.full((3, SIDE, SIDE, 3), 128, np.uint8))
    score = detector.score_look(Look(Status.OK, "", (flat,), 2.0))
    assert score.status is Status.LOW_QUALITY and "blurred" in score.reason


def test_a_moment_of_video_is_too_short(trained: Path) -> None:
    score = load_detector(trained).score_look(Look(Status.OK, "", (a_face(0),), 0.1))
    assert score.status is Status.TOO_SHORT


def test_the_most_suspicious_face_answers_for_the_file(trained: Path) -> None:
    detector = load_detector(trained)
    faces = tuple(a_face(n, shift=2.0 * n - 3.0) for n in range(4))
    score = detector.score_look(Look(Status.OK, "", faces, 2.0))
    assert score.probability == max(f.probability for f in score.faces) and len(score.faces) == 4


def test_evaluation_counts_abstentions_and_never_scores_them(trained: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    (tmp_path / "x.mp4").write_bytes(b"x")
    catalog = Catalog([Sample("x", "x.mp4", Label.REAL, digest, split="val")])
    results = evaluate(load_detector(trained), [(tmp_path, catalog)], tmp_path / "out")
    assert results["abstained"] == {"unreadable": 1} and results["all"]["auc"]["value"] is None
    line = json.loads((tmp_path / "out" / "scores.jsonl").read_text())
    assert line["probability"] is None and line["status"] == "unreadable"
    assert figures([], 0.5)["clips"] == 0


def test_an_empty_split_cannot_be_evaluated(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(DetectError, match="no sample"):
        evaluate(load_detector(trained), [(tmp_path, Catalog([]))], tmp_path / "out")


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_has_its_own_name_and_plain_values(name: str) -> None:
    assert recipe_named(name).name == name
    assert json.loads(json.dumps(recipe_named(name).to_json()))["name"] == name


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DetectError, match="frame_cpu, frame_gpu, frame_tiny"):
        recipe_named("frame_huge")


@pytest.mark.parametrize(("field", "value"), [("size", 0), ("ema", 1.0), ("blend_share", 1.5), ("sides", (300, 200))])
def test_a_recipe_that_cannot_train_is_refused(field: str, value: object) -> None:
    recipe: TrainRecipe = frame_tiny()
    with pytest.raises(ValueError, match="must be"):
        replace(recipe, **{field: value})


def test_a_drawing_is_not_judged(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Known, "judge", lambda self, crops: DRAWN)
    score = load_detector(trained).score_look(Look(Status.OK, "", (a_face(3),), 2.0))
    assert score.abstained and score.status is Status.OUT_OF_DISTRIBUTION and "drawn" in score.reason


def test_the_detector_carries_its_measured_rates(trained: Path) -> None:
    rates = load_detector(trained).rates
    assert rates is not None and 0 <= rates.false_alarms <= 1 and rates.real_clips > 0


def test_noise_is_not_a_face_that_the_detector_knows(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    score = load_detector(trained).score_look(Look(Status.OK, "", (a_face(3),), 2.0))
    assert score.status is Status.OUT_OF_DISTRIBUTION
