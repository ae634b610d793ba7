from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from quick_maker import QUICK, material
from test_dataset import SHORT, labels_and_streams

from forge.dataset import DatasetReport, Progress, Request, make_dataset
from forge.filming import Made, deliver
from forge.portrait import Declaration, ForgeError
from forge.progress import ProgressFile
from forge.quality import Gate
from forge.run import MOST_ATTEMPTS
from forge.shelf import Rejects
from media.catalog import Catalog, Label
from media.places import Here, Outcome, Place, Start, Workforce
from provenance.credential import Standing, read_credential
from provenance.signing import verify_catalog
from provenance.store import CredentialStore


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory.mktemp("places") / "in", portraits=4, speech=4, real=2)


def made(inputs: Path, out: Path, place: Place, limit: int = 6, **more: Any) -> DatasetReport:
    watch = more.pop("watch", lambda progress: None)
    request = Request(
        SHORT,
        out,
        inputs / "portraits",
        inputs / "speech",
        inputs / "real",
        Declaration.nonexistent(),
        limit=limit,
        place=place,
        method=QUICK,
        gate=Gate.off(),
    )
    return make_dataset(replace(request, **more), watch)


def test_clips_made_abreast_are_those_made_one_after_the_other(inputs: Path, tmp_path: Path, own_home: None) -> None:
    made(inputs, tmp_path / "one", Here())
    made(inputs, tmp_path / "abreast", Here(1, abreast=3))
    assert labels_and_streams(tmp_path / "one") == labels_and_streams(tmp_path / "abreast")


def test_a_cluster_makes_the_same_clips_signs_them_by_the_driver_and_leaves_nothing(
    inputs: Path, tmp_path: Path, own_home: None
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed; pip install 'countermark[cluster]'")
    import ray
    from ray.cluster_utils import Cluster

    from media.cluster import OnRay

    made(inputs, tmp_path / "one", Here())
    before = len(CredentialStore.of_this_user().names())
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    seen: list[Progress] = []
    try:
        report = made(inputs, tmp_path / "ray", OnRay(nodes.address), watch=seen.append)
    finally:
        ray.shutdown()
        nodes.shutdown()
    assert report.complete and report.made == 6 and report.standing == "trusted"
    assert labels_and_streams(tmp_path / "one") == labels_and_streams(tmp_path / "ray")
    for sample in Catalog.load(tmp_path / "ray"):
        assert read_credential(tmp_path / "ray" / sample.path).standing is Standing.TRUSTED
    assert verify_catalog(tmp_path / "ray").difference_count == 0
    assert len(CredentialStore.of_this_user().names()) > before, "credentials come home, too"
    assert max(progress.workforce.workers for progress in seen) >= 1
    left = [path.name for path in (tmp_path / "ray").rglob(".*")]
    assert sorted(left) == [".lock", ".looked.jsonl", ".workers.lock"]


@dataclass(frozen=True)
class Choosy:
    """This process, with a gate that some clips do not pass."""

    numbers: frozenset[int]
    passes_at: int
    """Attempt that passes."""

    def run(self, tasks: Iterable[Any], start: Start[Any, Any]) -> Iterator[Outcome[Any, Any]]:
        def judged() -> Iterator[Any]:
            for clip in tasks:
                if getattr(clip, "number", None) in self.numbers and clip.attempt < self.passes_at:
                    rejected.append(clip)
                else:
                    yield clip

        rejected: list[Any] = []
        yield from Here().run(judged(), start)
        for clip in rejected:
            yield Outcome(clip, Made({}, rejected={"cause": "flicker", "flicker": 0.5}))

    def workforce(self) -> Workforce:
        return Workforce()


def test_a_clip_that_does_not_pass_is_drawn_anew_and_that_is_told(inputs: Path, tmp_path: Path, own_home: None) -> None:
    made(inputs, tmp_path / "plain", Here())
    report = made(inputs, tmp_path / "gated", Choosy(frozenset({2}), passes_at=2))
    assert report.complete and report.rejected == {"flicker": 2} and report.clips == 6
    lines = [json.loads(line) for line in (tmp_path / "gated" / "rejected.jsonl").read_text().splitlines()]
    assert [(line["number"], line["attempt"], line["cause"], line["flicker"]) for line in lines] == [
        (2, 0, "flicker", 0.5),
        (2, 1, "flicker", 0.5),
    ]
    plain, gated = ({s.id for s in Catalog.load(tmp_path / name)} for name in ("plain", "gated"))
    assert len(plain - gated) == 1 and len(gated - plain) == 1
    again = made(inputs, tmp_path / "gated", Here())
    assert again.made == 0 and again.kept == 6 and again.complete, "what was rejected stays rejected"


def test_a_number_that_never_passes_stays_empty_and_a_real_clip_has_no_other(
    inputs: Path, tmp_path: Path, own_home: None
) -> None:
    report = made(inputs, tmp_path / "out", Choosy(frozenset({0, 1}), passes_at=99))
    assert report.failures == {"rejected": 1} and report.clips == 4 and not report.complete
    assert any("real clips that did not pass the quality gate and were left out: 1" in line for line in report.warnings)
    assert report.rejected == {"flicker": MOST_ATTEMPTS + 1}, "the real clip of number 1 is judged once"
    lines = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert {line["number"] for line in lines} == {0}
    assert all("did not pass the quality gate" in line["reason"] for line in lines)
    again = made(inputs, tmp_path / "out", Here())
    assert again.failures == {"rejected": 1} and again.made == 0, "and is not tried again"
    assert {sample.label for sample in Catalog.load(tmp_path / "out")} == {Label.REAL, Label.SYNTHETIC}


def test_a_file_says_how_far_a_run_is(inputs: Path, tmp_path: Path, own_home: None) -> None:
    told = tmp_path / "progress.json"
    made(inputs, tmp_path / "out", Here(), watch=ProgressFile(told))
    facts = json.loads(told.read_text())
    assert (facts["stage"], facts["done"], facts["planned"], facts["failed"]) == ("signing", 6, 6, 0)
    assert facts["clips_per_second"] > 0 and facts["seconds_left"] == 0 and facts["workers"] == 1


def test_nobody_left_to_work_is_one_line_and_what_was_made_stays(inputs: Path, tmp_path: Path, own_home: None) -> None:
    from media.clip import MediaError

    class Deserted(Choosy):
        def run(self, tasks: Iterable[Any], start: Start[Any, Any]) -> Iterator[Outcome[Any, Any]]:
            for count, outcome in enumerate(Here().run(tasks, start)):
                if count == 2 and outcome.task.__class__.__name__ == "PlannedClip":
                    raise MediaError("no worker on the Ray cluster auto for 120 s; see `ray status`")
                yield outcome

    with pytest.raises(ForgeError, match="no worker on the Ray cluster"):
        made(inputs, tmp_path / "out", Deserted(frozenset(), 0))
    report = made(inputs, tmp_path / "out", Here())
    assert report.complete and report.kept >= 2


def test_a_folder_begun_with_a_gate_is_not_continued_without_one(inputs: Path, tmp_path: Path, own_home: None) -> None:
    made(inputs, tmp_path / "out", Here(), gate=replace(Gate.off(), most_flash=1000.0), limit=2)
    with pytest.raises(ForgeError, match="begun with another gate"):
        made(inputs, tmp_path / "out", Here(), limit=2)


def test_a_torn_line_of_rejections_is_dropped_and_the_next_is_whole(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path)
    rejects.add(3, {"cause": "flicker"})
    rejects.add(4, {"cause": "no_face"})
    path = tmp_path / "rejected.jsonl"
    path.write_text(path.read_text()[:-1])  # cut exactly before the end of the last line
    again = Rejects(tmp_path)
    assert (again.attempt(3), again.attempt(4), len(again)) == (1, 0, 1)
    again.add(5, {"cause": "double"})
    assert Rejects(tmp_path).numbers() == [3, 5]


def test_a_distant_clip_is_done_only_when_its_credential_is_kept(tmp_path: Path) -> None:
    made_far = Made({}, {"records/a.json": b"{}"}, {"manifests/aa/a.c2pa": b"1"})
    (tmp_path / "records").mkdir()
    (tmp_path / "store").write_text("a file where the store should be")
    with pytest.raises(OSError):
        deliver(tmp_path, made_far, tmp_path / "store")
    assert not (tmp_path / "records" / "a.json").exists()
