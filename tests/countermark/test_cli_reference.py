from pathlib import Path

from countermark.cli import app
from countermark.cli_reference import reference

REPO = Path(__file__).resolve().parents[2]


def test_the_committed_reference_is_what_the_help_says() -> None:
    written = (REPO / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == reference(app, "countermark"), "run `make docs`"
