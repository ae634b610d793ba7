import json
from pathlib import Path

from benchmarks.tables import Result, Table, markdown, page


def test_columns_come_in_the_order_of_their_first_appearance() -> None:
    lines = markdown([{"maker": "mesh", "auc": 0.91234}, {"maker": "vasa", "n": 12}])
    assert lines[0] == "| maker | auc | n |"
    assert lines[2:] == ["| mesh | 0.912 |  |", "| vasa |  | 12 |"]


def test_a_separator_in_a_value_does_not_break_the_row() -> None:
    assert markdown([{"a": "x|y"}])[2] == "| x\\|y |"


def test_a_saved_result_names_its_command_and_hardware(tmp_path: Path) -> None:
    path = Result("speed", "python -m benchmarks.speed", (Table("t", ({"fps": 25.0},)),), ("a note",)).save(tmp_path)
    stored = json.loads(path.read_text())
    assert stored["command"] == "python -m benchmarks.speed" and "core" in stored["hardware"] and stored["date"]
    assert "| 25 |" in page([stored]) and "- a note" in page([stored])
    assert list(tmp_path.iterdir()) == [path]
