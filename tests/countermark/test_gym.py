"""The gym as a whole: stages that are kept, leaks that are refused, and a run that can be killed anywhere."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from countermark import cli_gym
from countermark.gym import TRAINED, GymError, Job, Tools, run_gym
from countermark.gym_weights import STAGE
from detect.detector import DetectError, ModelFacts, Score, Status
from detect.leakage import Check, LeakReport
from detect.telling import Say
from forge.portrait import Declaration
from forge.recipes import tiny
from forge.run import Request
from media.catalog import Catalog, Label, Sample


@dataclass
class Odometer:
    """Counts what the tools do, and ends the run at a given count."""

    die_at: int = -1
    calls: list[str] = field(default_factory=list)

    def step(self, what: str) -> None:
        self.calls.append(what)
        if len(self.calls) == self.die_at:
            raise KeyboardInterrupt

    def times(self, what: str) -> int:
        return sum(call.startswith(what) for call in self.calls)


@dataclass
class Pretended:
    """Answers what stands in the file: under `old`, or under `new` when it was trained."""

    weights: Path
    odometer: Odometer

    @property
    def facts(self) -> ModelFacts:
        if not self.weights.is_file():
            raise DetectError(f"{self.weights}: there are no weights")
        digest = hashlib.sha256(self.weights.read_bytes()).hexdigest()
        return ModelFacts("pretended", "1", digest, 0.6, "")

    def score_file(self, path: Path) -> Score:
        self.odometer.step(f"score {path.stem} by {self.weights.stem}")
        value = json.loads(path.read_text())["new" if self.weights.parent.name == TRAINED else "old"]
        return Score.abstain(Status.NO_FACE, "no face") if value is None else Score(value, Status.OK, "")


def a_clip(folder: Path, name: str, *, old: float | None, new: float | None, **facts: Any) -> Sample:
    text = json.dumps({"old": old, "new": new, "name": name})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.mp4").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    label = facts.pop("label", Label.SYNTHETIC)
    given = {"person": f"who {name}", "source": f"take {name}", "maker": "studio" if label is Label.REAL else "mesh"}
    extra = facts.pop("extra", {})
    return Sample(name, f"{name}.mp4", label, digest, **(given | facts), extra=extra)


def a_dataset(folder: Path, split: str | None, makers: Sequence[str], *, new: float = 0.5, each: int = 8) -> Path:
    """Real clips and as many of each maker; the new detector answers `new` on the synthetic ones."""
    out = [
        a_clip(folder, f"{folder.name}-{split}-{maker}{n}", old=0.4 + n / 100, new=new, maker=maker, split=split)
        for maker in makers
        for n in range(each)
    ]
    for n in range(each * len(makers)):
        name, value = f"{folder.name}-{split}-real{n}", 0.3 + n / 50
        out.append(a_clip(folder, name, old=value, new=value, label=Label.REAL, split=split))
    there = list(Catalog.load(folder)) if (folder / "catalog.jsonl").is_file() else []
    Catalog([*there, *out]).save(folder)
    return folder


def changed(folder: Path, change: Any) -> Path:
    """The dataset with its first synthetic sample changed."""
    samples = list(Catalog.load(folder))
    at = next(n for n, s in enumerate(samples) if s.label is Label.SYNTHETIC)
    samples[at] = change(samples[at])
    Catalog(samples).save(folder)
    return folder


@dataclass
class Bench:
    """Datasets on the disk and pretended tools."""

    folder: Path
    odometer: Odometer = field(default_factory=Odometer)
    taught: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.base = a_dataset(self.folder / "base", "train", ["sadtalker"])
        a_dataset(self.base, "val", ["sadtalker"])
        self.exam = a_dataset(self.folder / "exam", "test", ["float"], new=0.55)
        self.slice = a_dataset(self.folder / "slice", "train", ["mesh", "face_swap"])
        a_dataset(self.slice, "test", ["mesh"], new=0.95)
        a_dataset(self.slice, "val", ["face_swap"], new=0.1)
        self.weights = self.folder / "old.safetensors"
        self.weights.write_text("old weights")
        self.job = Job(self.folder / "out", (self.exam,), (self.base,), self.slice, weights=self.weights)

    @property
    def tools(self) -> Tools:
        return Tools(self.make, lambda weights: Pretended(weights, self.odometer), self.train)

    def make(self, request: Request, say: Say) -> Mapping[str, Any]:
        self.odometer.step("make")
        return {"failures": {"no face": 2}, "warnings": ["few people"]}

    def train(self, recipe: Any, datasets: Any, out: Path, **options: Any) -> Path:
        self.taught.append((datasets, options))
        self.odometer.step("train begins")
        (out / "checkpoint.pt").write_text("half")
        self.odometer.step("train ends")
        clips = sum(len(catalog) for _, catalog in datasets)
        (out / "detector.safetensors").write_text(f"weights of {clips} clips, seed {options['seed']}")
        (out / "detector.json").write_text("{}")
        return out / "detector.safetensors"

    def run(self, job: Job | None = None) -> dict[str, Any]:
        return run_gym(job or self.job, self.tools)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked here does not hang on how fine the intervals are."""
    monkeypatch.setattr("countermark.gym_diff.MOST_DRAWS", 300)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_report_tells_what_the_new_detector_won_and_lost(bench: Bench) -> None:
    report = bench.run()
    rows = {(row["section"], row["name"]): row for row in report["rows"]}
    assert rows["maker", "mesh (taught)"]["metrics"]["auc"]["outcome"] == "won"
    assert rows["maker", "face_swap (taught)"]["metrics"]["auc"]["outcome"] == "lost"
    assert rows["overall", "exam"]["metrics"]["auc"]["difference"]["value"] > 0
    assert rows["held-out makers", "float"]["synthetic"] == 8
    assert report["notes"][0].startswith("Of the slice's makers, face_swap, mesh taught the new detector, too")
    assert report["detectors"]["after"]["weights"] == str(bench.job.out / "trained" / "detector.safetensors")
    assert json.loads((bench.job.out / "gym.json").read_text()) == report
    assert "▲ won" in (bench.job.out / "gym.html").read_text()


def test_training_is_given_training_splits_only_and_the_network_in_use(bench: Bench) -> None:
    bench.run()
    ((datasets, options),) = bench.taught
    given = [s for _, catalog in datasets for s in catalog]
    assert {s.split for s in given} == {"train"} and len(given) == 16 + 32
    assert options["network"] == bench.weights and options["resume"] is False
    assert options["version"].startswith("1+gym.")


def test_a_network_of_its_own_is_trained_for_the_time_that_is_given(bench: Bench) -> None:
    bench.run(replace(bench.job, minutes=3.0))
    assert (bench.taught[0][1]["network"], bench.taught[0][1]["minutes"]) == (None, 3.0)
    assert bench.taught[0][1]["resume"] is True


def test_against_the_base_the_other_detector_is_made_in_the_same_way_without_the_slice(bench: Bench) -> None:
    report = bench.run(replace(bench.job, against_base=True))
    (alone, first), (both, second) = bench.taught
    assert [len(catalog) for _, catalog in alone] == [16] and [len(catalog) for _, catalog in both] == [16, 32]
    assert {**first, "version": ""} == {**second, "version": ""}
    assert report["detectors"]["before"]["weights"] == str(bench.job.out / "on_base" / "detector.safetensors")
    assert report["training"]["against"] == "base alone"
    calls = len(bench.odometer.calls)
    bench.run()
    # now against the detector in use: only that has to be asked
    assert bench.odometer.calls[calls:] == [c for c in bench.odometer.calls[calls:] if c.endswith("by old")]


def test_the_same_command_again_does_nothing_twice(bench: Bench) -> None:
    bench.run()
    page, calls = (bench.job.out / "gym.html").read_bytes(), list(bench.odometer.calls)
    bench.run()
    assert bench.odometer.calls == calls and (bench.job.out / "gym.html").read_bytes() == page


def test_a_run_that_is_killed_anywhere_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole = Bench(tmp_path / "whole")
    told = whole.run()
    steps = len(whole.odometer.calls)
    trained = whole.odometer.calls.index("train begins") + 1
    for die_at in (1, 2, 20, trained - 1, trained, trained + 1, trained + 2, steps):
        bench = Bench(tmp_path / f"dies{die_at}", Odometer(die_at))
        with pytest.raises(KeyboardInterrupt):
            bench.run()
        assert not (bench.job.out / "gym.json").exists()
        again = bench.run()
        assert [r["metrics"] for r in again["rows"]] == [r["metrics"] for r in told["rows"]]
        # nothing that was answered before the kill is asked again; what was in work is
        assert len(bench.odometer.calls) <= steps + 2


def test_other_inputs_train_again_and_never_from_the_checkpoint_of_before(bench: Bench) -> None:
    bench.odometer.die_at = 48 + 2  # every clip has its first score, and the training has left a checkpoint
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert (bench.job.out / TRAINED / "checkpoint.pt").exists()
    left: list[bool] = []
    plain = bench.train

    def looking(recipe: Any, datasets: Any, out: Path, **options: Any) -> Path:
        left.append((out / "checkpoint.pt").exists())
        return plain(recipe, datasets, out, **options)

    tools = replace(bench.tools, train=looking)
    run_gym(bench.job, tools)
    (bench.job.out / TRAINED / "detector.safetensors").write_text("touched")
    run_gym(bench.job, tools)
    run_gym(replace(bench.job, seed=5), tools)
    # resumed from its own checkpoint; made again because it was touched; begun anew because the seed is another one
    assert left == [True, True, False]


def test_a_folder_that_is_not_of_the_gym_is_left_alone(bench: Bench) -> None:
    mine = bench.job.out / TRAINED / "detector.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    with pytest.raises(GymError, match="was not made by the gym"):
        bench.run()
    assert mine.read_text() == "precious" and not (mine.parent / STAGE).exists()


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("people", {"person": "who exam-test-real0"}),
        ("recordings", {"source": "take exam-test-real0"}),
        ("equal files", {"sha256": "same"}),
        ("people", {"extra": {"donor": "who exam-test-real0"}}),
        ("speech", {"extra": {"speech": "hello.flac"}}),
        ("makers", {"maker": "float"}),
        ("makers", {"maker": "FLOAT"}),
    ],
)
@pytest.mark.parametrize("side", ["base", "slice"])
def test_what_measures_must_not_have_taught(bench: Bench, check: str, change: dict[str, Any], side: str) -> None:
    real0 = next(s for s in Catalog.load(bench.exam) if s.id == "exam-test-real0")
    change = change | ({"sha256": real0.sha256} if "sha256" in change else {})
    changed(bench.exam, lambda s: replace(s, extra={"speech": "hello.flac"}))
    changed(getattr(bench, side), lambda s: replace(s, **change))
    with pytest.raises(GymError) as refusal:
        bench.run()
    assert str(refusal.value).startswith(f"{check}: 1 are in the training data") and "\n" not in str(refusal.value)
    assert bench.odometer.calls == []
    assert bench.run(replace(bench.job, allow=(check,)))["leaks_accepted"][0]["check"] == check


def test_the_slice_may_have_a_maker_on_both_sides_but_no_speech(bench: Bench) -> None:
    samples = [replace(s, extra={"speech": "one.flac"}) for s in Catalog.load(bench.slice)]
    Catalog(samples).save(bench.slice)
    with pytest.raises(GymError, match=r"^speech: 1 .*the new slice/slice-train"):
        bench.run()


def test_an_unknown_leak_cannot_be_allowed(bench: Bench) -> None:
    with pytest.raises(GymError, match="allow takes people, recordings"):
        bench.run(replace(bench.job, allow=("everything",)))


def test_copies_are_looked_for_across_both_sides_where_that_is_asked_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[set[str | None]] = []

    def looked(datasets: Sequence[tuple[Path, Catalog]], **options: Any) -> LeakReport:
        sides.extend({s.split for s in catalog} for _, catalog in datasets)
        copies = Check("equal takes", True, "2 of 9 pairs across splits", ("a (train) = b (held out)",))
        return LeakReport((copies, Check("makers", True, "every maker is known by one fact")), {})

    monkeypatch.setattr("countermark.gym_leaks.examine", looked)
    with pytest.raises(GymError, match=r"^equal takes: 2 .* such as a \(train\) = b \(held out\)"):
        bench.run(replace(bench.job, near_duplicates=True))
    assert sides == [{"train"}, {"train"}, {"held out"}, {"held out"}] and bench.odometer.calls == []
    bench.run()


def test_a_dataset_that_is_base_and_held_out_is_divided(bench: Bench) -> None:
    with pytest.raises(GymError, match=r"^makers: 1"):
        bench.run(replace(bench.job, held_out=(bench.base,)))
    report = bench.run(replace(bench.job, held_out=(bench.base, bench.exam), allow=("makers",)))
    assert {part["name"]: part["synthetic"] for part in report["measured"]} == {
        "the new slice": 16,
        "base": 8,
        "exam": 8,
    }
    assert ("held-out makers", "sadtalker (taught)") in {(r["section"], r["name"]) for r in report["rows"]}


def test_abstentions_are_counted_and_no_score(bench: Bench) -> None:
    name = "exam-test-float0"
    sample = a_clip(bench.exam, name, old=None, new=0.9, maker="float", split="test")
    samples = [sample if s.id == name else s for s in Catalog.load(bench.exam)]
    Catalog(samples).save(bench.exam)
    report = bench.run()
    assert report["abstained"]["exam"] == {"before": {"no_face": 1}, "after": {}}
    row = next(row for row in report["rows"] if row["name"] == "exam")
    assert (row["clips"], row["compared"], row["synthetic"]) == (16, 15, 7)


def test_a_file_that_is_not_what_its_catalog_says_is_refused(bench: Bench) -> None:
    (bench.exam / "exam-test-real0.mp4").write_text('{"old": 0.5, "new": 0.5}')
    with pytest.raises(GymError, match=r"exam-test-real0\.mp4: is not the file that its catalog speaks of"):
        bench.run()


@pytest.mark.parametrize(("split", "missing"), [("train", "held-out split"), ("test", "training split")])
def test_a_slice_needs_both_sides(bench: Bench, split: str, missing: str) -> None:
    samples = [s for s in Catalog.load(bench.slice) if (s.split == "train") == (split == "train")]
    Catalog(samples).save(bench.slice)
    with pytest.raises(GymError, match=f"the slice has no {missing}"):
        bench.run()


def test_the_slice_is_made_by_the_factory_and_its_failures_are_told(bench: Bench) -> None:
    request = Request(tiny(), bench.slice, bench.folder, bench.folder, everyone=Declaration.nonexistent())
    report = bench.run(replace(bench.job, slice=request))
    assert bench.odometer.times("make") == 1
    notes = " ".join(report["notes"])
    assert "could not be made: 2 no face" in notes and "few people" in notes


def test_a_kept_network_needs_real_people_who_did_not_teach_it(bench: Bench) -> None:
    bench.weights.with_suffix(".json").write_text('{"unseen_people": ["somebody else"]}')
    with pytest.raises(GymError, match="or train a network with --full"):
        bench.run()
    assert bench.odometer.calls == []
    bench.run(replace(bench.job, minutes=1.0))
    bench.weights.with_suffix(".json").write_text('{"unseen_people": ["who base-train-real3"]}')
    bench.run()


def test_wrong_weights_and_recipes_are_told_before_a_slice_is_made(bench: Bench) -> None:
    job = replace(bench.job, slice=Request(tiny(), bench.slice, bench.folder, bench.folder))
    with pytest.raises(GymError, match="there are no weights"):
        bench.run(replace(job, weights=bench.folder / "nowhere.safetensors"))
    with pytest.raises(DetectError, match="no recipe"):
        bench.run(replace(job, recipe="huge"))
    assert bench.odometer.calls == [] and not bench.job.out.exists()


def test_two_gyms_do_not_work_in_one_folder(bench: Bench) -> None:
    def meddling(request: Request, say: Say) -> Mapping[str, Any]:
        with pytest.raises(GymError, match="another gym works in it"):
            bench.run()
        return {}

    request = Request(tiny(), bench.slice, bench.folder, bench.folder)
    run_gym(replace(bench.job, slice=request), replace(bench.tools, make=meddling))


def test_two_held_out_sets_of_one_name_are_told_apart(bench: Bench) -> None:
    other = a_dataset(bench.folder / "elsewhere" / "exam", "test", ["vasa"])
    samples = [replace(s, person=f"other {s.person}", sha256=s.sha256) for s in Catalog.load(other)]
    Catalog(samples).save(other)
    report = bench.run(replace(bench.job, held_out=(bench.exam, other)))
    assert [part["name"] for part in report["measured"]] == ["the new slice", "exam", "exam 2"]


def test_a_gym_needs_something_to_measure_on_and_to_learn_from() -> None:
    with pytest.raises(GymError, match="at least one held-out"):
        Job(Path("out"), (), (Path("base"),), Path("slice"))


def command(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(cli_gym.gym)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command_prints_one_object_and_where_the_weights_are(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tools, "real", classmethod(lambda cls: bench.tools))
    out = bench.job.out
    given = ["--base", bench.base, "--held-out", bench.exam, "--slice", bench.slice, "--weights", bench.weights]
    done = command(out, *given)
    assert done.exit_code == 0
    facts = json.loads(done.stdout)
    assert facts["weights"] == str(out / "trained" / "detector.safetensors") and facts["comparisons"]["made"] > 0
    assert re.search(r"the new slice \(16 synthetic, 16 real clips\)", done.stderr)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "--slice FOLDER, or by --recipe NAME"),
        (["--recipe", "tiny"], "needs --portraits and --speech"),
        (["--recipe", "huge", "--portraits", ".", "--speech", "."], "recipe must be one of"),
        (["--slice", ".", "--limit", "3"], "takes a dataset as it is"),
        (["--slice", "nowhere"], "nowhere"),
        (["--slice", ".", "--time-budget-minutes", "5"], "give --full, too, or leave it out"),
    ],
)
def test_a_wrong_command_ends_with_one_line(bench: Bench, options: list[str], says: str) -> None:
    done = command(bench.job.out, "--base", bench.base, "--held-out", bench.exam, *options)
    assert done.exit_code == 1 and done.stdout == ""
    assert says in done.stderr and done.stderr.count("\n") == 1 and done.stderr.startswith("error: ")


@pytest.mark.slow
def test_the_gym_end_to_end_with_the_real_factory_detector_and_training(data_pack: Path, tmp_path: Path) -> None:
    from detect.corpora.table import read_table
    from detect.recipes import frame_tiny
    from detect.train import train
    from forge.recipes import person_shift

    clips = data_pack / "clips"
    table = list(read_table(clips / "clips.csv"))

    def chosen(split: str, label: Label, count: int, skip: int = 0) -> list[Sample]:
        people = {s.cluster: s for s in table if s.split == split and s.label is label}
        return [people[name] for name in sorted(people)][skip : skip + count]

    def dataset(name: str, samples: Sequence[Sample]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for sample in samples:
            (folder / sample.path).symlink_to((clips / sample.path).resolve())
        return Catalog(samples, name).save(folder).parent

    base = dataset("base", chosen("train", Label.REAL, 4) + chosen("train", Label.SYNTHETIC, 4))
    exam = dataset("exam", chosen("val", Label.REAL, 3) + chosen("val", Label.SYNTHETIC, 3))
    real, portraits, speech = (tmp_path / name for name in ("real", "portraits", "speech"))
    for folder in (real, portraits, speech):
        folder.mkdir()
    rows = ["file,label,person,group,consent,split"]
    for n, sample in enumerate(chosen("train", Label.REAL, 4, skip=4)):
        (real / sample.path).symlink_to((clips / sample.path).resolve())
        rows.append(f"{sample.path},real,{sample.person},{sample.source},test only,{'test' if n % 2 else 'train'}")
    (real / "real.csv").write_text("\n".join(rows) + "\n")
    for n, picture in enumerate(sorted((data_pack / "portraits" / "people").glob("*.webp"))[:2]):
        (portraits / f"nobody{n}.webp").symlink_to(picture.resolve())
    for sound in sorted((data_pack / "speech").glob("*.flac"))[:3]:
        (speech / sound.name).symlink_to(sound.resolve())

    cache = tmp_path / "cache"
    old = train(frame_tiny(), [(base, Catalog.load(base))], tmp_path / "old", minutes=0.5, cache=cache)
    recipe = replace(
        person_shift(), seconds=(1.5, 2.0), makers=("self_blended",), split_shares=(("train", 0.5), ("test", 0.5))
    )
    request = Request(recipe, tmp_path / "out" / "slice", portraits, speech, real, limit=8)
    request = replace(request, everyone=Declaration.nonexistent())
    job = Job(tmp_path / "out", (exam,), (base,), request, weights=old, cache=cache, allow=("makers",))
    lines: list[str] = []
    report = run_gym(job, say=lines.append)
    assert report["training"]["recipe"] == "frame_tiny"
    assert report["detectors"]["before"]["sha256"] != report["detectors"]["after"]["sha256"]
    assert {row["name"] for row in report["rows"] if row["section"] == "overall"} == {"the new slice", "exam"}
    assert report["comparisons"]["not_measurable"] > 0
    assert all(row["metrics"]["ece"]["outcome"] == "not measurable" for row in report["rows"])
    page = (tmp_path / "out" / "gym.html").read_bytes()
    lines.clear()
    assert run_gym(job, say=lines.append) == report
    assert "trained before, from the same" in lines and not any(line.startswith("scored") for line in lines)
    assert (tmp_path / "out" / "gym.html").read_bytes() == page
