from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from forge.card import audit_text, card_text, cell, write_card
from forge.card_sheets import COLOURS, sheet_name
from forge.card_tally import MOST_LEVELS, SHOWN, Few, Look, Tally, factors_of, kind_of_consent
from forge.portrait import ForgeError
from forge.recipes import tiny
from media.catalog import Catalog, Label, Sample
from media.clip import Clip
from media.video import write_clip
from provenance.credential import Standing, read_credential

SHA = "0" * 64


def sample(number: int, **change: Any) -> Sample:
    """Even numbers are real; two people a split, three makers, four emotions."""
    real = number % 2 == 0
    split = ("train", "train", "val", "test")[number // 2 % 4]
    extra: dict[str, Any] = {"language": ("en", "de")[number // 2 % 2], "kind": "film", "group": f"g{number // 2 % 3}"}
    if not real:
        emotion = ("neutral", "happy", "sad")[number // 2 % 3]
        extra |= {"controls": {"emotion": emotion, "distance": 1 + number / 100, "seed": 4}, "motion": "baseline"}
        extra |= (
            {"segments": [{"start_seconds": 0.2, "end_seconds": 0.3, "what": "picture"}]} if number % 4 == 3 else {}
        )
    maker = "real" if real else ("mesh", "swap")[number // 2 % 2]
    facts: dict[str, Any] = {
        "id": f"id{number}", "path": f"clips/{number}.mp4", "label": Label.REAL if real else Label.SYNTHETIC,
        "sha256": SHA, "person": f"{split}-{number % 4}", "maker": maker,
        "split": split, "codec": f"h264-crf{(18, 23)[number // 2 % 2]}", "seconds": 0.4, "fps": "25/1",
        "has_sound": True, "license": ("CC0-1.0", "MIT")[number % 2], "consent": "nonexistent: shows nobody",
    }  # fmt: skip
    more = change.pop("extra", {})
    return Sample(**{**facts, **change}, extra={**extra, **more})


@dataclass(frozen=True)
class Endless:
    """A catalog that can be gone through, and is nowhere."""

    count: int

    def __iter__(self) -> Iterator[Sample]:
        return (sample(number) for number in range(self.count))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight clips, whose number is their grey."""
    (tmp_path / "clips").mkdir()
    for number in range(8):
        frames = np.full((10, 64, 96, 3), 20 + 25 * number, np.uint8)
        write_clip(Clip(frames, Fraction(25), None), tmp_path / "clips" / f"{number}.mp4")
    return tmp_path


def written(folder: Path, catalog: Any) -> str:
    write_card(folder, tiny(), catalog, [], ["few people"])
    return (folder / "README.md").read_text()


def test_the_card_counts_every_factor_by_split_and_label(folder: Path) -> None:
    card = written(folder, Catalog([sample(n) for n in range(8)], name="demo"))
    assert "# demo: 8 labelled talking-head clips" in card and "- few people.\n" in card
    assert "| train | 2 | 2 | 4 |" in card and "| all | 4 | 4 | 8 |" in card
    assert "| maker | train real | train synthetic | val real | val synthetic | test real | test synthetic |" in card
    assert "| mesh | - | 1 | - | 1 | - | - | 100% |" in card and "| real | 2 | - | 1 | - | 1 | - | 0% |" in card
    for factor in ("partial", "group", "emotion", "language", "codec"):
        assert f"### By {factor}\n" in card
    assert "| en | 1 | 1 | 1 | 1 | - | - | 50% |" in card
    assert "| distance | - | 1.01 to 1.07, mean 1.04 |" in card and "| motion | - | baseline 4 |" in card
    assert "| partial | - | forged throughout 2, partly forged 2 |" in card
    assert "| CC0-1.0 | 4 | 0 |" in card and "| nonexistent | 4 | 4 |" in card
    for head in ("## Intended use", "## Out of scope", "## Shortcuts", "## Known limits"):
        assert head in card
    assert "Not audited" in card and "then give the command that made this dataset once more" in card
    assert "seed" not in card.split("## Factors")[1].split("## Truth")[0].lower()


def test_every_factor_that_can_be_seen_has_a_signed_sheet_with_a_row_a_level(folder: Path) -> None:
    card = written(folder, Catalog([sample(n) for n in range(8)]))
    names = sorted(path.name for path in folder.glob("*.png"))
    factors = ("codec", "emotion", "group", "maker", "partial")
    assert names == sorted(["contact_sheet.png", *(sheet_name(f) for f in factors)])
    for name in names:
        credential = read_credential(folder / name)
        assert credential.standing is Standing.TRUSTED and credential.declares_synthetic is True
        assert f"]({name})" in card
    sheet = np.asarray(Image.open(folder / "contact_sheet_maker.png").convert("RGB"))
    green, magenta = (tuple(int(COLOURS[label][n : n + 2], 16) for n in (1, 3, 5)) for label in Label)
    column = [tuple(pixel) for pixel in sheet[:, 149]]
    assert green in column and magenta in column and column.index(green) < column.index(magenta), "real ones first"
    assert not list(folder.glob(".*"))


def test_the_same_dataset_gives_the_same_card_in_any_order(folder: Path) -> None:
    samples = [sample(n) for n in range(8)]
    first = written(folder, Catalog(samples, name="x"))
    pictures = {p.name: np.asarray(Image.open(p)).tobytes() for p in folder.glob("*.png")}
    assert written(folder, Catalog(samples[::-1], name="x")) == first
    assert {p.name: np.asarray(Image.open(p)).tobytes() for p in folder.glob("*.png")} == pictures


def test_a_sheet_of_a_factor_that_is_gone_is_removed_and_other_pictures_stay(folder: Path) -> None:
    written(folder, Catalog([sample(n) for n in range(8)]))
    Image.new("RGB", (4, 4)).save(folder / "holiday.png")
    card = written(folder, Catalog([replace(sample(n), maker="one") for n in range(8)]))
    assert not (folder / "contact_sheet_maker.png").exists() and "contact_sheet_maker.png" not in card
    assert (folder / "holiday.png").exists() and (folder / "contact_sheet.png").exists()


def test_a_partial_forgery_is_shown_where_it_is_forged_and_others_early() -> None:
    partly = sample(3, seconds=60.0, extra={"segments": [{"start_seconds": 40.0, "end_seconds": 44.0, "what": "both"}]})
    assert Look.at(partly).frame == 42 * 25
    assert Look.at(sample(0, seconds=60.0)).frame == 25 and Look.at(sample(0, seconds=0.4)).frame == 5


def test_segments_that_cover_a_clip_are_no_partial_forgery() -> None:
    def told(segments: list[list[float]], **more: Any) -> str:
        return str(dict(factors_of(sample(1, seconds=2.0, extra={"segments": segments, **more})))["partial"])

    assert told([[0.5, 1.0]]) == "partly forged" and told([[0.0, 1.0], [1.0, 2.0]]) == "forged throughout"
    assert told([[0.0, 2.0]], partial=True) == "partly forged" and told([]) == "forged throughout"
    assert dict(factors_of(sample(0, extra={"platform": None})))["platform"] == "none"


def test_those_shown_are_of_different_people_and_depend_on_no_order() -> None:
    looks = [Look(rank, str(rank), "p", Label.REAL, "train", 0, f"person {rank % 5}") for rank in range(40)]
    for order in (looks, looks[::-1], looks[20:] + looks[:20]):
        few = Few(4)
        for look in order:
            few.add(look)
        assert [look.rank for look in few.sorted()] == [0, 1, 2, 3]
    alone = Few(4)
    for rank in (9, 3, 7, 5, 1):
        alone.add(Look(rank, str(rank), "p", Label.REAL, "train", 0, "one person"))
    assert [look.rank for look in alone.sorted()] == [1, 3, 5, 7]
    crowd = Few(3)
    for rank, person in ((8, "a"), (1, "b"), (2, "b"), (3, "b"), (0, "b"), (9, "c")):
        crowd.add(Look(rank, str(rank), "p", Label.REAL, "train", 0, person))
    assert [look.rank for look in crowd.sorted()] == [0, 8, 9]


def test_a_factor_with_too_many_levels_is_told_as_many_and_keeps_no_pictures() -> None:
    tally = Tally.of(sample(n, extra={"take": f"take {n}"}) for n in range(4 * MOST_LEVELS))
    assert tally.named["take"].is_many and not tally.named["take"].counts
    assert not [key for key in tally.looks_by_level if key[0] == "take"]
    text = card_text(tiny(), tally, [], [])
    assert "| take | many | many |" in text and "### By take" not in text


def test_memory_does_not_grow_with_the_clips() -> None:
    peaks = []
    for count in (500, 500, 2000):
        tracemalloc.start()
        tally = Tally.of(Endless(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert tally.clips == count and all(len(few.sorted()) <= SHOWN for few in tally.looks_by_level.values())
    assert peaks[2] - peaks[1] < 20_000, peaks


def test_names_and_places_of_files_are_no_factors() -> None:
    told = dict(
        factors_of(sample(1, extra={"input": "me.png", "truth": "t", "x_sha256": SHA, "take": 3, "calm": True}))
    )
    assert told == {
        "maker": "mesh", "seconds": 0.4, "codec": "h264-crf18", "sound": "with sound", "partial": "forged throughout",
        "language": "en", "kind of picture": "film", "group": "g0", "emotion": "neutral", "distance": 1.01,
        "motion": "baseline", "take": 3.0, "calm": "yes",
    }  # fmt: skip


def audit(path: Path, **change: Any) -> Path:
    row = {
        "probe": "codec",
        "clips": 8,
        "AUC, makers and people left out": "0.52",
        "at 0.60": "passes",
        "looks at": "x",
    }
    told = {
        "command": "python -m benchmarks.shortcuts DIR", "date": "2026-11-24", "notes": ["8 clips; none above 0.60."],
        "tables": [{"title": "probes", "rows": [row]}],
    }  # fmt: skip
    path.write_text(json.dumps(told | change))
    return path


def test_an_audit_beside_the_catalog_is_told(folder: Path) -> None:
    audit(folder / "audit.json")
    card = written(folder, Catalog([sample(n) for n in range(8)]))
    assert "- 8 clips; none above 0.60." in card and "| codec | 0.52 | passes |" in card and "Not audited" not in card


def test_an_audit_of_another_state_says_so_and_a_broken_one_is_one_line(tmp_path: Path) -> None:
    text = audit_text(audit(tmp_path / "audit.json"), 12)
    assert text is not None and "had 8 clips then and has 12 now: audit it again" in text
    assert audit_text(tmp_path / "none.json", 12) is None
    for content in ("{", "[]", '{"notes": 3}', '{"notes": [], "tables": [{"title": "x", "rows": [3]}]}'):
        (tmp_path / "audit.json").write_text(content)
        with pytest.raises(ForgeError, match=r"is no shortcut audit .*make it again or remove it"):
            audit_text(tmp_path / "audit.json", 12)


def test_names_cannot_break_a_table_or_the_page() -> None:
    odd = "a|b\n## Proof <script>"
    text = card_text(tiny(), Tally.of([sample(0, maker=odd), sample(1)]), [], [])
    assert "| a\\|b ## Proof &lt;script> |" in text and "<script>" not in text
    assert cell(0.123456) == "0.123"
    # a bar is escaped only by an odd number of backslashes before it
    assert cell("a\\|b") == "a\\\\\\|b"


def test_consent_is_told_by_its_kind() -> None:
    assert kind_of_consent("nonexistent: the user declares") == "nonexistent"
    assert kind_of_consent("she said yes") == "stated in the catalog"
    assert kind_of_consent(None) == "not stated"
