from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from containers import flip_content
from revocation import Authority, served
from typer.testing import CliRunner, Result

from provenance import guard
from provenance.cli import app
from provenance.credential import Credential, Standing
from provenance.identity import create_identity
from provenance.rendering import plain
from provenance.trust import TrustAnchors, identity_folder

Originals = dict[str, Path]
TYPE = ("--source-type", "trainedAlgorithmicMedia")


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def sign(originals: Originals, out: Path, *words: object) -> Result:
    return run("sign", originals["clip.png"], "-o", out, *TYPE, *words)


def test_signing_and_verifying_from_the_command_line(originals: Originals, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    result = sign(
        originals, out, "--ingredient", f"portrait={originals['clip.jpg']}", "--ingredient", originals["clip.wav"]
    )
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "made a development signing identity" in result.stderr.splitlines()[0]
    assert "(trusted)" in result.stderr.splitlines()[1]
    result = run("verify", out, "--json")
    facts = json.loads(result.stdout)
    assert result.exit_code == 0
    assert facts["file"] == str(out)
    assert facts["standing"] == "trusted"
    assert "DEVELOPMENT - DO NOT TRUST" in facts["signer"]
    assert facts["declares_synthetic"] is True
    assert facts["validation_codes"] == ["signingCredential.trusted"]
    assert [one["title"] for one in facts["ingredients"]] == ["portrait", "clip.wav"]


def test_exit_codes_tell_the_standing(
    originals: Originals, signed: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = signed("clip.png")
    (tmp_path / "broken.png").write_bytes(flip_content(path.read_bytes(), "png"))
    (tmp_path / "text.mp4").write_text("not a video")
    assert run("verify", path).exit_code == 0
    assert run("verify", tmp_path / "broken.png").exit_code == 1
    assert run("verify", originals["clip.png"]).exit_code == 3
    for wrong in (
        ("verify", tmp_path / "missing.mp4"),
        ("verify", tmp_path / "text.mp4"),
        ("verify",),
        ("verify", path, "-x"),
    ):
        assert run(*wrong).exit_code == 2
    root = tmp_path / "root.pem"
    root.write_bytes((identity_folder() / "root.pem").read_bytes())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another-machine"))
    assert run("verify", path).exit_code == 4
    assert run("verify", path, "--trust", root).exit_code == 0
    assert run("verify", path, "--trust", path).exit_code == 2


@pytest.mark.parametrize("verb", ["verify", "show"])
def test_errors_are_one_line_on_stderr(verb: str, tmp_path: Path) -> None:
    (tmp_path / "line\nbreak.mp4").write_text("not a video")
    result = run(verb, tmp_path / "line\nbreak.mp4")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_the_human_answer_says_why(originals: Originals, signed: Callable[[str], Path], tmp_path: Path) -> None:
    path = signed("clip.mp4")
    (tmp_path / "broken.mp4").write_bytes(flip_content(path.read_bytes(), "mp4"))
    answer = run("verify", tmp_path / "broken.mp4").stdout
    assert "BROKEN" in answer
    assert "The video was changed after it was signed" in answer
    assert "UNKNOWN" not in answer
    assert "TRUSTED" in run("verify", path).stdout
    assert "NO CREDENTIALS" in run("verify", originals["clip.mp4"]).stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("trusted", "TRUSTED: unchanged since it was signed on this machine"),
        ("listed", "TRUSTED: unchanged since it was signed by someone on your trust list"),
        ("broken", "BROKEN: its credential does not hold"),
        ("absent", "NO CREDENTIALS: nobody signed for it; that is usual, and proves nothing"),
        ("unknown", "UNKNOWN SIGNER: unchanged since it was signed, but it could be anyone"),
    ],
)
def test_the_first_line_says_in_plain_words_what_it_means(
    name: str,
    words: str,
    originals: Originals,
    signed: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = originals["clip.png"] if name == "absent" else signed("clip.png")
    if name == "broken":
        path.write_bytes(flip_content(path.read_bytes(), "png"))
    root = identity_folder() / "root.pem"
    if name in ("unknown", "listed"):
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another-machine"))
    trust = ("--trust", root) if name == "listed" else ()
    for verb in ("verify", "show"):
        assert words in run(verb, path, *trust).stdout.splitlines()[0]


@pytest.mark.parametrize("verb", [("verify",), ("verify", "--json"), ("show",)])
def test_a_reader_that_goes_away_gets_no_exit_code_of_a_standing(verb: tuple[str, ...], originals: Originals) -> None:
    program = "import sys; from provenance.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, *verb, str(originals["clip.png"])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(60) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_an_answer_that_cannot_be_written_is_one_line(originals: Originals) -> None:
    program = "import sys; from provenance.cli import main; main()"
    for option in ([], ["--json"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-c", program, "verify", str(originals["clip.png"]), *option],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 2
        assert done.stderr.splitlines() == ["error: cannot write the answer: No space left on device"]


def test_pipes_are_refused_wherever_a_file_is_named(originals: Originals, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for words in (
        ("verify", originals["clip.png"], "--trust", pipe),
        ("sign", originals["clip.png"], "-o", tmp_path / "a.png", *TYPE, "--record", pipe),
        ("sign", originals["clip.png"], "-o", tmp_path / "a.png", *TYPE, "--chain", pipe, "--key", pipe),
    ):
        result = run(*words)
        assert result.exit_code in (1, 2)
        assert "is not a regular file" in result.stderr
        assert result.stderr.count("\n") == 1


def test_names_that_are_no_text_can_be_signed_and_read(originals: Originals, tmp_path: Path) -> None:
    source, out = (tmp_path / os.fsdecode(b"\xff%d.png" % number) for number in (1, 2))
    source.write_bytes(originals["clip.png"].read_bytes())
    assert sign({"clip.png": source}, out, "--component", source, "--description", os.fsdecode(b"\xfe")).exit_code == 0
    result = run("verify", out, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["ingredients"][0]["title"] == "?1.png"


def test_without_a_home_files_are_verified_and_signing_says_what_to_do(
    originals: Originals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert run("verify", originals["clip.png"]).exit_code == 3
    result = sign(originals, tmp_path / "a.png")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "set HOME" in result.stderr


def test_a_place_for_keys_that_cannot_be_written_is_one_line(
    originals: Originals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/dev/null/config")
    result = sign(originals, tmp_path / "a.png")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "XDG_CONFIG_HOME" in result.stderr
    assert not (tmp_path / "a.png").exists()


def test_the_tree_shows_every_level(originals: Originals, tmp_path: Path) -> None:
    sign(originals, tmp_path / "a.png", "--ingredient", f"portrait={originals['clip.jpg']}")
    run("sign", tmp_path / "a.png", "-o", tmp_path / "b.png", "--source-type", "humanEdits", "--action", "edited")
    tree = run("show", tmp_path / "b.png").stdout
    assert tree.index("made from a.png") < tree.index("generated from portrait")
    assert "edited" in tree


def test_a_strangers_title_cannot_paint_or_move_the_cursor(originals: Originals, tmp_path: Path) -> None:
    title = "[green]✓ TRUSTED[/]\x1b[2Jx\u202e"
    assert (
        sign(originals, tmp_path / "a.png", "--title", "t", "--component", f"{title}={originals['clip.jpg']}").exit_code
        == 0
    )
    for verb in ("verify", "show"):
        shown = run(verb, tmp_path / "a.png").stdout
        assert "\x1b[2J" not in shown
        assert "\u202e" not in shown
    assert plain("[red]a") == "\\[red]a"


def test_an_existing_result_is_replaced_only_by_force(originals: Originals, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("mine")
    assert sign(originals, tmp_path / "a.png").exit_code == 1
    assert (tmp_path / "a.png").read_text() == "mine"
    assert sign(originals, tmp_path / "a.png", "--force").exit_code == 0


def test_own_keys_sign_and_are_believed_when_their_root_is_given(originals: Originals, tmp_path: Path) -> None:
    assert run("keygen", "--out", tmp_path / "k").exit_code == 0
    assert run("keygen", "--out", tmp_path / "k").exit_code == 1
    key = tmp_path / "k/signer.key"
    assert sign(originals, tmp_path / "a.png", "--chain", tmp_path / "k/chain.pem", "--key", key).exit_code == 0
    assert sign(originals, tmp_path / "b.png", "--identity", tmp_path / "k").exit_code == 0
    for name in ("a.png", "b.png"):
        assert run("verify", tmp_path / name).exit_code == 4
        assert run("verify", tmp_path / name, "--trust", tmp_path / "k/root.pem").exit_code == 0
    assert sign(originals, tmp_path / "c.png", "--key", key).exit_code == 1
    key.chmod(0o644)
    result = sign(originals, tmp_path / "c.png", "--chain", tmp_path / "k/chain.pem", "--key", key)
    assert f"chmod 600 {key}" in result.stderr


def test_a_record_is_read_from_a_file(originals: Originals, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps({"tool": "camera", "seed": 3, "label": "real"}))
    result = sign(originals, tmp_path / "a.png", "--record", tmp_path / "record.json", "--json")
    assert json.loads(result.stdout)["record"]["seed"] == 3
    for content, words in (("[]", "one JSON object"), ("{", "is not JSON"), ('{"label": "fake"}', "not a record")):
        (tmp_path / "bad.json").write_text(content)
        result = sign(originals, tmp_path / "b.png", "--record", tmp_path / "bad.json")
        assert (result.exit_code, result.stdout) == (1, "")
        assert words in result.stderr


def test_datasets_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    (tmp_path / "catalog.jsonl").write_text('{"path": "a.bin"}\n')
    assert run("verify-dataset", tmp_path).exit_code == 3
    assert run("sign-dataset", tmp_path).exit_code == 0
    assert run("verify-dataset", tmp_path).exit_code == 0
    (tmp_path / "a.bin").write_bytes(b"b")
    result = run("verify-dataset", tmp_path, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["differences"] == [{"path": "a.bin", "kind": "changed", "detail": None}]
    assert "a.bin" in run("verify-dataset", tmp_path).stdout
    assert run("verify-dataset", tmp_path / "missing").exit_code == 2


def test_the_doctor_ends_with_a_fault_when_there_is_one(tmp_path: Path) -> None:
    assert run("doctor").exit_code == 0
    create_identity(tmp_path / "k")
    (tmp_path / "k/signer.key").chmod(0o640)
    result = run("doctor", "--identity", tmp_path / "k", "--json")
    assert result.exit_code == 1
    assert any(check["result"] == "fault" for check in json.loads(result.stdout)["checks"])


@pytest.mark.parametrize("crash", ["dies", "swells", "hangs"])
def test_a_file_on_which_the_reader_fails_reads_as_broken(
    crash: str, originals: Originals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, *, trust: TrustAnchors) -> Credential:
        if crash == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if crash == "hangs":
            time.sleep(30)
        bytearray(guard.MEMORY_BYTES * 2)
        raise AssertionError("the limit did not hold")

    monkeypatch.setattr(guard, "read_credential", fail)
    monkeypatch.setattr(guard, "SECONDS", 1.5)
    credential = guard.read_credential_guarded(originals["clip.png"])
    assert credential.standing is Standing.BROKEN
    assert "cannot be checked" in credential.reasons[0]


def test_help_loads_neither_the_c2pa_library_nor_certificates() -> None:
    program = (
        "import sys, provenance.cli; print([m for m in ('c2pa', 'cryptography', 'numpy', 'rich') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout == "[]\n"


def test_the_official_lists_are_taken_from_their_place(originals: Originals, tmp_path: Path) -> None:
    create_identity(tmp_path / "k")
    sign(originals, tmp_path / "a.png", "--identity", tmp_path / "k", "--no-store")
    result = run("verify", tmp_path / "a.png", "--official")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "C2PA-TRUST-LIST.pem" in result.stderr
    folder = identity_folder().parent / "trust"
    folder.mkdir(parents=True)
    for name in ("C2PA-TRUST-LIST.pem", "C2PA-TSA-TRUST-LIST.pem"):
        (folder / name).write_bytes((tmp_path / "k" / "root.pem").read_bytes())
    assert run("verify", tmp_path / "a.png").exit_code == 4
    result = run("verify", tmp_path / "a.png", "--official", "--json")
    assert (result.exit_code, json.loads(result.stdout)["trust_list"]) == (0, "C2PA-TRUST-LIST.pem")


def test_a_revoked_signer_is_told_when_it_is_asked_for(originals: Originals, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    with served(authority) as url:
        authority.identity(url)
        keys = ("--chain", tmp_path / "authority/asking.pem", "--key", tmp_path / "authority/signer.key")
        assert sign(originals, tmp_path / "a.png", *keys, "--no-store").exit_code == 0
        authority.is_revoked = True
        trust = ("--trust", tmp_path / "authority/root.pem")
        assert run("verify", tmp_path / "a.png", *trust).exit_code == 0
        assert authority.asked == 0
        asked = ("--check-revocation", "--ask", url.removeprefix("http://").rstrip("/"))
        # in a process of its own: the library keeps to the hosts that the first reading of a process was allowed
        words = [sys.executable, "-m", "countermark", "provenance", "verify", tmp_path / "a.png", *trust, *asked]
        result = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120)
        assert result.returncode == 1, result.stderr
        assert "The signer's certificate was revoked" in result.stdout
        assert run("verify", tmp_path / "a.png", *trust, "--ask", "example.org").exit_code == 2
        assert run("verify", tmp_path / "a.png", *trust, "--ask", "http://a/", "--check-revocation").exit_code == 2


def test_another_usage_is_accepted_only_when_it_is_named(originals: Originals, tmp_path: Path) -> None:
    result = run("verify", originals["clip.png"], "--allow-usage", "server")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "an OID like" in result.stderr
    assert run("verify", originals["clip.png"], "--allow-usage", "1.2.3.4").exit_code == 3


def test_every_key_of_the_json_form_is_documented(originals: Originals, tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "provenance-report.md").read_text(encoding="utf-8")
    sign(originals, tmp_path / "a.png", "--ingredient", originals["clip.jpg"], "--no-store")
    facts = json.loads(run("verify", tmp_path / "a.png", "--json").stdout)
    assert facts["schema"] == 1
    inner = [*facts["checks"][0], *facts["certificate"], *facts["ingredients"][0]]
    assert [key for key in (*facts, *inner) if f"`{key}`" not in page and key not in page] == []
    assert all(f"`{standing.value}`" in page for standing in Standing)


def test_the_tree_says_what_was_checked(signed: Callable[[str], Path]) -> None:
    tree = run("show", signed("clip.mp4")).stdout
    assert "✓ the video is unchanged assertion.bmffHash.match" in tree
    assert "· whether the signer's certificate was revoked was not asked" in tree
    assert "not proven: it carries no time-stamp" in tree
