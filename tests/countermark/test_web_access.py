"""Who may talk to the server, and what every answer carries."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")

import web_stand_ins
from fastapi.testclient import TestClient

from countermark.web.access import HEADERS, host_name
from countermark.web.server import create_app
from countermark.web.serving import MOST_FOLDER_BYTES, must_hold_sockets
from countermark.web.settings import Limits, ServeError, ServeSettings, is_loopback

TOKEN = "a-token-of-a-test-0123"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    base = tmp_path_factory.mktemp("access") / "spool"
    app = create_app(ServeSettings(), prepare=web_stand_ins.prepare, preload=(), spool_base=base)
    with TestClient(app, base_url="http://127.0.0.1:8000") as one:
        yield one


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    base = tmp_path_factory.mktemp("public") / "spool"
    settings = ServeSettings(host="0.0.0.0", token=TOKEN, allowed_hosts=("newsroom.example",))
    app = create_app(settings, prepare=web_stand_ins.prepare, preload=(), spool_base=base)
    with TestClient(app, base_url="http://newsroom.example:8000") as one:
        yield one


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8000", "LOCALHOST:99"])
def test_names_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/api/about", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "a@localhost", "", "127.0.0.1.nip.io", "[::1"]
)
def test_another_name_in_the_host_header_is_turned_away(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 421


def test_a_host_header_is_read_without_port_and_brackets() -> None:
    assert host_name("[::1]:80") == "::1" and host_name("A.b:8000") == "a.b" and host_name("u@h") == ""


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "http://["}, 403),  # no address at all: found by the fuzz run
        ({"origin": "//"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_another_sites_page_cannot_post(client: TestClient, headers: dict[str, str], status: int) -> None:
    answer = client.post("/api/check", files={"file": ("a", b"report x")}, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/api/about", "/nothing", "/static/app.js"])
def test_every_answer_forbids_guessing_framing_storing_and_foreign_content(client: TestClient, path: str) -> None:
    answer = client.get(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_a_public_address_without_a_token_cannot_be_served() -> None:
    with pytest.raises(ServeError, match="token"):
        ServeSettings(host="0.0.0.0")
    with pytest.raises(ServeError, match="16 printable"):
        ServeSettings(host="0.0.0.0", token="short")
    assert not is_loopback("10.0.0.1") and is_loopback("127.9.9.9") and is_loopback("[::1]")


@pytest.mark.parametrize("given", [None, "Bearer wrong-token-0123456789", f"Basic {TOKEN}", TOKEN, "Bearer \u00e9"])
def test_behind_a_public_address_the_api_wants_its_token(public: TestClient, given: str | None) -> None:
    headers = {"authorization": given.encode("latin-1")} if given else {}
    answer = public.get("/api/about", headers=headers)
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"


def test_the_token_opens_the_api_and_the_page_itself_is_no_secret(public: TestClient) -> None:
    assert public.get("/api/about", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert public.get("/").status_code == 200 and TOKEN not in public.get("/").text


@pytest.mark.parametrize("host", ["0.0.0.0:8000", "127.0.0.1:8000"])
def test_behind_a_public_address_only_names_that_were_given_are_answered(public: TestClient, host: str) -> None:
    assert public.get("/", headers={"host": host}).status_code == 421


def test_limits_refuse_nonsense() -> None:
    with pytest.raises(ServeError, match="upload_bytes"):
        Limits(upload_bytes=0)
    with pytest.raises(ServeError, match="port"):
        ServeSettings(port=70_000)


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from countermark.cli import app

    (tmp_path / "token").write_text("x" * 20)
    (tmp_path / "token").chmod(0o644)
    done = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--token-file", str(tmp_path / "token")])
    assert done.exit_code == 1 and "chmod 600" in done.output and len(done.output.strip().splitlines()) == 1
    done = CliRunner().invoke(app, ["serve", "--catalog", str(tmp_path)])
    assert done.exit_code == 1 and "no catalog" in done.output


def test_a_temporary_folder_too_long_for_sockets_is_told_at_the_start() -> None:
    must_hold_sockets("/tmp" + "/x" * 20)
    with pytest.raises(ServeError, match="set TMPDIR"):
        must_hold_sockets("/" + "x" * MOST_FOLDER_BYTES)


def test_the_longest_folder_that_is_taken_does_hold_the_socket_of_a_process() -> None:
    short = Path(tempfile.mkdtemp(prefix="s"))
    try:
        folder = short / ("x" * (MOST_FOLDER_BYTES - len(str(short)) - 1))
        place = folder / "pymp-12345678"
        place.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(place / "listener-12345678"))
    finally:
        shutil.rmtree(short)
