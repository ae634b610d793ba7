"""Collect `results/*.json` into `RESULTS.md`: `python -m benchmarks.tables`.

Every benchmark writes one JSON file (`Result`): name, command, date, hardware, notes, tables.
Tables are made from saved results only, so a figure in RESULTS.md always has its command beside it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from provenance.files import write_whole

RESULTS = Path(__file__).resolve().parent / "results"
Row = Mapping[str, object]


@dataclass(frozen=True)
class Table:
    """Rows that share their columns."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Result:
    """What one benchmark found, and how to find it again."""

    name: str
    command: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    hardware: str = ""
    date: str = ""

    def save(self, folder: Path = RESULTS) -> Path:
        """Write `folder/name.json` by temporary name and rename; fills in hardware and date."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "name": self.name,
            "command": self.command,
            "date": self.date or datetime.now(UTC).date().isoformat(),
            "hardware": self.hardware or hardware(),
            "notes": list(self.notes),
            "tables": [{"title": table.title, "rows": [dict(row) for row in table.rows]} for table in self.tables],
        }
        path = folder / f"{self.name}.json"
        write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
        return path


def hardware() -> str:
    """The processor and the cores this process may use, as one line."""
    model = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores of {model}"


def cell(value: object) -> str:
    """A value as a table cell: three significant figures for floats."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return "–".join(cell(v) for v in value)
    return str(value).replace("|", "\\|")


def markdown(rows: Sequence[Row]) -> list[str]:
    """Rows as a Markdown table; columns in the order of their first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(cell(row.get(name, "")) for name in columns) + " |" for row in rows]


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """The whole results page."""
    lines = [
        "# Results",
        "",
        "Written by `python -m benchmarks.tables` from `benchmarks/results/*.json`; do not edit.",
        "",
    ]
    for result in results:
        lines += [f"## {result['name']}", "", f"`{result['command']}` · {result['hardware']} · {result['date']}", ""]
        for table in result["tables"]:
            lines += [f"**{table['title']}**", "", *markdown(table["rows"]), ""]
        lines += [f"- {note}" for note in result["notes"]] + ([""] if result["notes"] else [])
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Rewrite RESULTS.md."""
    stored = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    (RESULTS.parent / "RESULTS.md").write_text(page([s for s in stored if "tables" in s]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
