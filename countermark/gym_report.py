"""What the gym found, for machines (gym.json), for reading (gym.html) and for the terminal.

    write_report(report, folder)
    for line in told(report): ...

The page loads nothing from anywhere and holds no script. Everything is rendered from the plain values of gym.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import cbrt, copysign
from pathlib import Path
from typing import Any, Final

from countermark.gym_paired import GAUGES
from detect.report import templates_in, write_whole

SCHEMA: Final = "countermark.gym/1"
JSON_NAME, PAGE_NAME = "gym.json", "gym.html"
MARKS: Final = {"won": "▲", "lost": "▼", "no difference": "·", "not measurable": "–"}
WORDS: Final = {"won": "better", "lost": "worse"}
WHOLE: Final = ("overall", "held-out makers")
"""Sections that are told in full, also where nothing could be measured."""
SHOWN: Final = 8
"""Changes that the terminal lists one by one."""

Plain = Mapping[str, Any]


def write_report(report: Plain, folder: Path) -> Path:
    """Write both, each whole or not at all; gym.json last, since it says that all is done. Returns the page.

    Raises:
        DetectError: where they cannot be written.
    """
    page = folder / PAGE_NAME
    write_whole(to_html(report), page)
    write_whole(json.dumps(report, indent=1, ensure_ascii=True) + "\n", folder / JSON_NAME)
    return page


def to_html(report: Plain) -> str:
    """The report as one page."""
    environment = templates_in(Path(__file__).with_name("templates"), figure=figure, signed=signed)
    return environment.get_template("gym.html").render(
        report=report,
        headline=headline(report),
        sections=list(sections(report["rows"], measured=True)),
        silent=list(sections(report["rows"], measured=False)),
        gauges=list(GAUGES.values()),
        marks=MARKS,
        forest=[
            line for line in map(strip, report["rows"]) if line["dot"] is not None or line["row"]["section"] in WHOLE
        ],
        reach=STRIP_WIDTH,
    )


def headline(report: Plain) -> str:
    """What can be said when all comparisons are counted."""
    won, lost = len(report["won"]), len(report["lost"])
    made, silent = report["comparisons"]["made"], report["comparisons"]["not_measurable"]
    if not made:
        return "Nothing could be compared: too few clips or people"
    if not won and not lost:
        # where little could be measured, nothing found is no news
        few = f", in {made} of {made + silent} comparisons: the others had too few clips or people" if silent else ""
        return f"No difference that holds{few}"
    parts = [f"{count} {word}" for count, word in ((won, "better"), (lost, "worse")) if count]
    return f"{' and '.join(parts)}, of {made} comparisons"


def sections(rows: Sequence[Plain], *, measured: bool) -> Iterator[tuple[str, list[Plain]]]:
    """Rows by section, in order: the sections in which anything was measured, or the others."""
    for name in dict.fromkeys(row["section"] for row in rows):
        mine = [row for row in rows if row["section"] == name]
        cells = [cell for row in mine for cell in row["metrics"].values()]
        if any(cell["outcome"] != "not measurable" for cell in cells) is measured:
            yield name, mine


STRIP_WIDTH: Final = 220.0


def strip(row: Plain) -> dict[str, Any]:
    """The change of the AUC as a dot and a whisker on a line from -1 to 1, wider around zero (cube root)."""
    cell = row["metrics"]["auc"]
    moved = cell["difference"]
    if moved["value"] is None:
        return {"row": row, "cell": cell, "dot": None, "low": None, "high": None}

    def place(value: float) -> float:
        return round(STRIP_WIDTH / 2 * (1 + copysign(cbrt(abs(value)), value)), 1)

    return {
        "row": row,
        "cell": cell,
        "dot": place(moved["value"]),
        "low": place(moved["low"]),
        "high": place(moved["high"]),
    }


def figure(value: float | None) -> str:
    """A figure with three digits, or a dash."""
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def signed(value: float | None) -> str:
    """A difference with its sign."""
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")


def told(report: Plain) -> Iterator[str]:
    """The report in lines for a terminal."""
    yield f"{headline(report)}."
    for row in report["rows"]:
        if row["section"] in WHOLE:
            yield f"  {row['name']} ({row['synthetic']} synthetic, {row['real']} real clips)"
            for name, cell in row["metrics"].items():
                yield f"    {_cell(GAUGES[name].title, cell)}"
    for word, holding in (("better", "won"), ("worse", "lost")):
        yield from _listed(f"{word}, counting all comparisons", report[holding])
        yield from _listed(f"perhaps {word} (its own interval alone says so)", report[f"perhaps_{holding}"])
    made = report["comparisons"]
    yield (
        f"{made['made']} comparisons, {made['expected_by_chance']:g} would look won or lost by chance; "
        f"{made['not_measurable']} more had too few clips or people"
    )
    for name, sides in report["abstained"].items():
        counts = {side: sum(found.values()) for side, found in sides.items()}
        if any(counts.values()):
            yield f"no answer on {name}: {counts['before']} clips before, {counts['after']} after; left out of both"
    for leak in report["leaks_accepted"]:
        yield f"accepted leak, {leak['check']}: {leak['count']}, such as {leak['example']}"
    yield from (f"note: {note}" for note in report["notes"])


def _cell(title: str, cell: Plain) -> str:
    if cell["outcome"] == "not measurable":
        return f"{title}: not measurable, {cell['difference']['reason']}"
    moved = cell["difference"]
    words = f"{title}: {cell['before']['value']:.3f} -> {cell['after']['value']:.3f}"
    words += f" ({moved['value']:+.3f} [{moved['low']:+.3f}, {moved['high']:+.3f}])"
    word = WORDS.get(cell["outcome"])
    return f"{words} {'' if cell['holds'] else 'perhaps '}{word}" if word else words


def _listed(title: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"{title}:"
        yield from (f"  {name}" for name in names[:SHOWN])
        if len(names) > SHOWN:
            yield f"  and {len(names) - SHOWN} more, see {JSON_NAME}"
