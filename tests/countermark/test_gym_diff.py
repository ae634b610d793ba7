"""Which factors were won and lost: levels, outcomes, and the page that tells them."""

import hashlib
import json
from collections.abc import Mapping
from math import nan
from typing import Any

from countermark.gym_diff import SLICE, Answer, Diff, Outcome, abstentions, difference
from countermark.gym_factors import ALL_REAL, SAME_LEVEL, Level, levels_of
from countermark.gym_report import SCHEMA, headline, to_html, told
from media.catalog import Label, Sample


def a_sample(name: str, label: Label = Label.SYNTHETIC, maker: str = "mesh", **extra: Any) -> Sample:
    digest = hashlib.sha256(name.encode()).hexdigest()
    codec = extra.pop("codec", "h264-crf23")
    return Sample(
        name, f"{name}.mp4", label, digest, person=f"who {name}", maker=maker, codec=codec, split="test", extra=extra
    )


def real(name: str, **extra: Any) -> Sample:
    return a_sample(name, Label.REAL, "film", **extra)


def levels(factor: str, samples: list[Sample]) -> dict[str, Level]:
    return {level.name: level for level in levels_of(samples) if level.factor == factor}


def test_a_factor_needs_two_levels_among_synthetic_clips() -> None:
    samples = [a_sample("a"), a_sample("b"), real("c", codec="h264-crf18")]
    assert levels_of(samples) == ()


def test_what_only_forged_clips_have_is_compared_with_all_real_ones() -> None:
    samples = [a_sample("a", controls={"emotion": "happy"}), a_sample("b", controls={"emotion": "sad"}), real("c")]
    found = levels("emotion", samples)
    assert {name: (level.members, level.against) for name, level in found.items()} == {
        "happy": ((0, 2), ALL_REAL),
        "sad": ((1, 2), ALL_REAL),
    }


def test_what_both_labels_have_is_compared_with_real_clips_of_the_same_level() -> None:
    samples = [a_sample("a", platform="feed"), a_sample("b", platform=None)]
    samples += [real("c", platform="feed"), real("d", platform=None), real("e", platform=None)]
    found = levels("platform", samples)
    assert found["feed"].members == (0, 2) and found["none"].members == (1, 3, 4)
    assert {level.against for level in found.values()} == {SAME_LEVEL}


def test_where_a_real_clip_does_not_tell_a_level_all_real_ones_are_compared() -> None:
    samples = [a_sample("a", language="en"), a_sample("b", language="de"), real("c", language="en"), real("d")]
    assert levels("language", samples)["de"].members == (1, 2, 3)


def test_numbers_fall_into_bins_of_equally_many_clips_and_few_ones_are_levels() -> None:
    samples = [a_sample(f"s{n}", controls={"gaze_yaw_degrees": float(n), "distance": n % 2}) for n in range(9)]
    assert [len(level.members) for level in levels("gaze_yaw_degrees", samples).values()] == [3, 3, 3]
    assert list(levels("gaze_yaw_degrees", samples)) == ["0 to 2.67", "2.67 to 5.33", "5.33 to 8"]
    assert list(levels("distance", samples)) == ["0", "1"]


def test_few_numbers_of_which_none_comes_twice_fall_into_bins() -> None:
    samples = [a_sample(f"s{n}", controls={"distance": 1 + n / 7}) for n in range(4)]
    assert len(levels("distance", samples)) == 3


def test_what_a_catalog_calls_unstated_is_not_known() -> None:
    samples = [a_sample("a", language="en"), a_sample("b", language="de"), real("c", language="unstated")]
    assert {level.against for level in levels("language", samples).values()} == {ALL_REAL}


def test_a_frozen_pose_and_a_partial_forgery_are_levels_in_words() -> None:
    samples = [
        a_sample("a", partial=True, controls={"frozen_pose": True}),
        a_sample("b", partial=False, controls={"frozen_pose": False}),
    ]
    assert set(levels("partial", samples)) == {"some stretches", "whole clip"}
    assert set(levels("frozen pose", samples)) == {"frozen", "moving"}


def answers(shifts: Mapping[str, float], *, each: int = 24, dataset: str = SLICE) -> list[Answer]:
    """Makers whose clips scored 0.5 with the detector before, and so much more with the new one; as many real ones."""
    out = []
    for maker, shift in shifts.items():
        out += [Answer(a_sample(f"{maker}{n}", maker=maker), dataset, 0.5, 0.5 + shift) for n in range(each)]
    spread = [0.2 + 0.6 * n / each for n in range(each)]
    out += [Answer(real(f"{dataset} real{n}"), dataset, value, value) for n, value in enumerate(spread)]
    return out


def cell_of(diff: Diff, name: str, gauge: str = "auc") -> Any:
    return next(cell for row in diff.rows if row.name == name for cell in row.cells if cell.gauge.name == gauge)


def test_a_maker_that_is_found_better_is_won_and_one_that_is_missed_is_lost() -> None:
    diff = difference(answers({"mesh": 0.4, "face_swap": -0.4, "lip_splice": 0.0}), (0.6, 0.6))
    outcomes = {name: cell_of(diff, name).outcome for name in ("mesh", "face_swap", "lip_splice")}
    assert outcomes == {"mesh": Outcome.WON, "face_swap": Outcome.LOST, "lip_splice": Outcome.SAME}
    assert cell_of(diff, "mesh").holds and not cell_of(diff, "lip_splice").holds
    assert cell_of(diff, "mesh", "tpr_at_threshold").change.difference.value == 1.0


def test_fewer_false_alarms_are_won_and_more_are_lost() -> None:
    mine = [Answer(a.sample, a.dataset, a.before, a.after if a.synthetic else a.after / 2) for a in answers({"m": 0.0})]
    down = cell_of(difference(mine, (0.6, 0.6)), SLICE, "fpr_at_threshold")
    assert down.change.difference.value < 0 and down.outcome is Outcome.WON
    worse = [Answer(a.sample, a.dataset, a.after, a.before) for a in mine]
    assert cell_of(difference(worse, (0.6, 0.6)), SLICE, "fpr_at_threshold").outcome is Outcome.LOST


def test_false_alarms_on_all_real_clips_are_asked_once() -> None:
    diff = difference(answers({"mesh": 0.1, "face_swap": 0.1}), (0.6, 0.6))
    assert [row.name for row in diff.rows for c in row.cells if c.gauge.name == "fpr_at_threshold"] == [SLICE]


def test_an_abstention_of_one_detector_takes_the_clip_out_and_is_counted() -> None:
    mine = answers({"mesh": 0.4})
    mine[0] = Answer(mine[0].sample, SLICE, nan, 0.9, "no_face", "ok")
    mine[1] = Answer(mine[1].sample, SLICE, 0.5, nan, "ok", "too_short")
    row = difference(mine, (0.6, 0.6)).rows[0]
    assert (row.counts["clips"], row.counts["compared"], row.counts["synthetic"]) == (48, 46, 22)
    assert abstentions(mine) == {SLICE: {"before": {"no_face": 1}, "after": {"too_short": 1}}}


def test_what_only_its_own_interval_says_does_not_hold_among_many_comparisons() -> None:
    # one maker of twelve people of whom two more are found: alone it may look won, among forty it proves nothing
    shifts = {f"maker{n}": 0.0 for n in range(12)}
    mine = answers(shifts, each=12)
    better = [
        Answer(a.sample, a.dataset, a.before, 0.9 if a.sample.id in {f"maker3{n}" for n in range(5)} else a.after)
        for a in mine
    ]
    cell = cell_of(difference(better, (0.6, 0.6)), "maker3", "tpr_at_threshold")
    assert cell.outcome is Outcome.WON and cell.adjusted_p > cell.change.p and not cell.holds


def test_held_out_makers_are_compared_with_real_clips_of_their_own_set() -> None:
    mine = answers({"mesh": 0.1}) + answers({"vasa": 0.2}, dataset="a") + answers({"float": 0.2}, each=9, dataset="b")
    rows = {row.name: row for row in difference(mine, (0.6, 0.6), taught={"FLOAT"}).rows}
    assert (rows["vasa"].counts["real"], rows["float (taught)"].counts["real"]) == (24, 9)
    assert rows["every held-out set"].counts["clips"] == 48 + 18


def report_of(diff: Diff, mine: list[Answer], name: str = "a detector") -> dict[str, Any]:
    side = {"name": name, "version": "1", "sha256": "0" * 64, "threshold": 0.6, "weights": "x.safetensors"}
    part = {"name": SLICE, "real": 3, "synthetic": 4, "people": 7, "makers": ["mesh"]}
    return {
        "schema": SCHEMA,
        "tool": {"name": "countermark", "version": "0"},
        "detectors": {"before": side, "after": side},
        "training": {
            "network": "kept",
            "against": "base alone",
            "minutes": None,
            "recipe": "frame_cpu",
            "seed": 0,
            "inputs_sha256": "1" * 64,
        },
        "taught": [part, part],
        "measured": [part],
        "abstained": abstentions(mine),
        "leaks_accepted": [{"check": "makers", "count": 2, "example": "x"}],
        **diff.to_json(),
        "notes": ["a note"],
    }


def test_the_page_loads_nothing_and_shows_hostile_names_as_text() -> None:
    mine = answers({"<script>alert(1)</script>": 0.4, "face_swap": -0.4})
    page = to_html(report_of(difference(mine, (0.6, 0.6)), mine, name="<b>bold</b>"))
    assert "<script" not in page and "<b>bold" not in page and "&lt;script&gt;" in page
    assert "src=" not in page and "http:" not in page and "https:" not in page
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page
    assert "▲ won" in page and "▼ lost" in page


def test_the_headline_counts_what_holds_and_the_terminal_says_what_could_not_be_told() -> None:
    mine = answers({"mesh": 0.4, "face_swap": -0.4}) + answers({"vasa": 0.1}, each=3, dataset="small")
    report = report_of(difference(mine, (0.6, 0.6)), mine)
    json.dumps(report)
    assert headline(report).endswith(f"of {report['comparisons']['made']} comparisons")
    lines = list(told(report))
    assert any("not measurable, 3 real clips, 6 are needed" in line for line in lines)
    assert any("would look won or lost by chance" in line for line in lines)
    assert "note: a note" in lines


def test_factors_of_which_nothing_could_be_measured_are_listed_in_one_place() -> None:
    mine = answers({"mesh": 0.4, "face_swap": 0.0})
    few = [a_sample(f"e{n}", maker="mesh", controls={"emotion": name}) for n, name in enumerate(("happy", "sad"))]
    mine += [Answer(sample, SLICE, 0.5, 0.5) for sample in few]
    page = to_html(report_of(difference(mine, (0.6, 0.6)), mine))
    assert "By maker" in page and "By emotion" not in page
    assert "<dt>emotion</dt><dd>happy (1), sad (1)</dd>" in page.split("Too few clips to tell")[1]


def test_without_a_difference_the_headline_says_so_and_in_how_many_comparisons() -> None:
    mine = answers({"mesh": 0.0, "face_swap": 0.0})
    report = report_of(difference(mine, (0.6, 0.6)), mine)
    counts = {"made": 3, "not_measurable": 0}
    assert headline(report | {"comparisons": counts}) == "No difference that holds"
    told = headline(report | {"comparisons": counts | {"not_measurable": 75}})
    assert told == "No difference that holds, in 3 of 78 comparisons: the others had too few clips or people"
    assert headline(report | {"comparisons": counts | {"made": 0}}).startswith("Nothing could be compared")
