import json
from pathlib import Path

import numpy as np
import pytest

from detect import protocols
from detect.detector import DetectError
from detect.models.fusing import ClipEvidence
from detect.models.temporal import FEATURES
from detect.protocols import figures_of, unseen_makers_of
from media.catalog import Catalog


def told(makers: dict[str, float], people: int = 12) -> dict[str, list[tuple[ClipEvidence, float]]]:
    """Each maker's clips lie so far above the real ones."""
    rng = np.random.default_rng(0)
    windows = np.zeros((1, len(FEATURES)), np.float32)

    def clip(synthetic: bool, person: str, maker: str) -> ClipEvidence:
        return ClipEvidence(synthetic, person, maker, np.zeros(2), windows, np.zeros(48))

    real = [clip(False, f"p{n}", "studio") for n in range(people)]
    values = {id(c): float(rng.normal()) for c in real}
    out = {}
    for maker, level in makers.items():
        own = [clip(True, f"{maker}{n}", maker) for n in range(6)]
        out[maker] = [(c, level + float(rng.normal())) for c in own] + [(c, values[id(c)]) for c in real]
    return out


def test_the_mean_and_the_worst_are_over_makers() -> None:
    figures = figures_of(told({"easy": 8.0, "hard": 0.0}), draws=100)
    aucs = {maker: row["auc"]["value"] for maker, row in figures["by_maker"].items()}
    assert aucs["easy"] == 1.0 and aucs["hard"] < 0.9
    assert figures["mean_auc"]["value"] == pytest.approx(np.mean(list(aucs.values())), abs=1e-4)
    assert figures["worst_auc"]["value"] == pytest.approx(aucs["hard"], abs=1e-4)
    assert figures["mean_auc"]["low"] <= figures["mean_auc"]["value"] <= figures["mean_auc"]["high"]


def test_one_label_alone_cannot_leave_makers_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "prepared_samples", lambda *a, **k: ())
    with pytest.raises(DetectError, match="both labels"):
        unseen_makers_of(object(), [(tmp_path, Catalog([]))], tmp_path / "out", with_lessons=False)  # type: ignore[arg-type]


def test_every_score_is_written_with_the_maker_it_was_left_out_for() -> None:
    rows = told({"a": 1.0, "b": 2.0}, people=3)
    names = {id(c): str(n) for n, c in enumerate(dict.fromkeys(c for part in rows.values() for c, _ in part))}
    lines = [json.loads(line) for line in protocols._lines(rows, names)]
    assert len(lines) == 18 and {line["left_out"] for line in lines} == {"a", "b"}
    assert sum(not line["synthetic"] for line in lines if line["left_out"] == "a") == 3


def test_what_is_answered_is_calibrated_and_flagged_by_other_makers_and_people() -> None:
    figures = figures_of(told({"a": 1.5, "b": 1.5, "c": 1.5}, people=40), draws=50)["as_answered"]
    assert figures["ece"]["value"] < figures["ece_of_exact_probabilities"] + 0.08
    assert figures["false_alarms_at_threshold"]["value"] <= 0.1
    assert figures["found_at_threshold"]["value"] > figures["false_alarms_at_threshold"]["value"]


def test_a_maker_unlike_the_others_is_stated_too_surely() -> None:
    alike = figures_of(told({"a": 4.0, "b": 4.0, "c": 4.0}, people=40), draws=20)["as_answered"]
    unlike = figures_of(told({"a": 4.0, "b": 4.0, "c": -4.0}, people=40), draws=20)["as_answered"]
    assert unlike["ece"]["value"] > alike["ece"]["value"] + 0.05


def test_one_maker_alone_leaves_nothing_to_calibrate_on() -> None:
    assert "as_answered" not in figures_of(told({"only": 2.0}), draws=20)
