"""The house rules that a linter does not know."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
PACKAGES = ("countermark", "media", "provenance", "forge", "detect", "benchmarks")


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((REPO / package).rglob("*.py"))


def test_no_function_is_longer_than_eighty_lines() -> None:
    long = [
        f"{path.relative_to(REPO)}:{node.lineno} {node.name}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno > 80
    ]
    assert long == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(p.relative_to(REPO)) for p in sources() if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))
    ]
    assert silent == []


@pytest.mark.parametrize("word", ["utils", "helpers", "manager", "_v2"])
def test_no_module_has_an_empty_name(word: str) -> None:
    assert [str(p.relative_to(REPO)) for p in sources() if word in p.stem] == []


def test_no_left_overs_in_the_packages() -> None:
    words = ("TODO", "FIXME", "XXX", "NotImplementedError")
    found = [f"{p.relative_to(REPO)}: {w}" for p in sources() for w in words if w in p.read_text(encoding="utf-8")]
    assert found == []


def test_every_module_named_in_the_architecture_exists() -> None:
    missing, folder = [], ""
    for line in (REPO / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1].splitlines():
        name = line.split()[0] if line.split() else ""
        if line and not line.startswith(" "):
            folder = name.strip("/")
        elif name.endswith((".py", "/")) and line.startswith("  ") and not (REPO / folder / name).exists():
            missing.append(f"{folder}/{name}")
    assert missing == []


def test_importing_the_command_loads_no_heavy_library() -> None:
    code = (
        "import sys, countermark.cli; "
        "print([m for m in ('torch', 'timm', 'c2pa', 'mediapipe', 'sklearn', 'pandas') if m in sys.modules])"
    )
    python = __import__("sys").executable
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=REPO, check=True)
    assert done.stdout.strip() == "[]"


def test_no_key_is_in_the_repository() -> None:
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=REPO, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    begins = "-----BEGIN " + "PRIVATE KEY"
    holders = [
        t for t in tracked if (REPO / t).is_file() and begins in (REPO / t).read_text(encoding="utf-8", errors="ignore")
    ]
    assert holders == []
