"""The server with stand-in processes: what a client is answered, and what is left behind."""

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")

import web_stand_ins
from fastapi.testclient import TestClient

from countermark.web import jobs
from countermark.web.jobs import State
from countermark.web.server import create_app, prefers_async
from countermark.web.settings import Limits, ServeSettings

SMALL = Limits(upload_bytes=200_000, job_seconds=20.0)


def served(tmp_path: Path, **changes: Any) -> TestClient:
    settings = ServeSettings(**{"limits": SMALL, "workers": 2, **changes})
    app = create_app(settings, prepare=web_stand_ins.prepare, preload=(), spool_base=tmp_path / "spool")
    return TestClient(app, base_url=f"http://{settings.host}:{settings.port}", raise_server_exceptions=False)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with served(tmp_path) as one:
        yield one
        left = [p for p in (tmp_path / "spool").rglob("*") if p.is_file() and p.name != "lock"]
        assert left == [], "an upload was left behind"
    assert list((tmp_path / "spool").iterdir()) == []


def sent(client: TestClient, content: bytes, name: str = "a.mp4", **options: Any) -> Any:
    return client.post("/api/check", files={"file": (name, content)}, **options)


def test_a_file_is_answered_with_its_report(client: TestClient) -> None:
    answer = sent(client, b"report hello")
    assert answer.status_code == 200
    assert answer.json() == {"file": "a.mp4", "said": "hello", "suffix": ".bin"}


def test_a_client_that_asks_for_it_gets_an_address_to_poll(client: TestClient) -> None:
    answer = sent(client, b"report hello", headers={"Prefer": "respond-async"})
    assert answer.status_code == 202 and answer.json()["state"] in ("waiting", "running")
    for _ in range(200):
        polled = client.get(answer.headers["location"])
        if polled.status_code != 202:
            break
        time.sleep(0.05)
    assert polled.status_code == 200 and polled.json()["said"] == "hello"


@pytest.mark.parametrize(
    ("prefer", "wanted"),
    [("", False), ("respond-async", True), ("wait=5, Respond-Async", True), ("return=minimal", False)],
)
def test_the_prefer_header_is_read_as_its_standard_says(prefer: str, wanted: bool) -> None:
    assert prefers_async(prefer) is wanted


def test_a_crash_costs_one_request_and_is_one_plain_line(client: TestClient) -> None:
    answer = sent(client, b"crash")
    assert answer.status_code == 500
    assert "crashed the reader" in answer.json()["error"] and "\n" not in answer.json()["error"]
    assert sent(client, b"report again").status_code == 200


def test_what_a_crashed_reader_wrote_for_itself_goes_with_it(client: TestClient) -> None:
    before = set(Path(tempfile.gettempdir()).iterdir())
    assert sent(client, b"litter").status_code == 500
    made = [path for path in set(Path(tempfile.gettempdir()).iterdir()) - before if path.name.startswith("tmp")]
    assert [path for path in made if path.is_file() and path.read_bytes() == b"half a picture"] == []


def test_a_bomb_is_stopped_by_the_memory_limit_of_its_process(client: TestClient) -> None:
    assert sent(client, b"swell").status_code == 500


def test_endless_work_is_stopped_by_the_processor_limit(tmp_path: Path) -> None:
    # one second of a processor may take minutes on a busy machine
    with served(tmp_path, limits=Limits(job_seconds=600.0)) as client:
        answer = sent(client, b"spin")
        while answer.status_code == 202:
            answer = client.get(answer.headers["location"])
    assert answer.status_code == 500 and "processor time" in answer.json()["error"]


def test_a_refusal_names_the_reason_in_one_line(client: TestClient) -> None:
    answer = sent(client, b"refuse")
    assert (answer.status_code, answer.json()) == (422, {"error": "this file cannot be read"})


def test_a_process_that_dies_after_its_verdict_has_given_it(client: TestClient) -> None:
    assert sent(client, b"late word").status_code == 200


def test_what_a_captured_process_tells_is_not_believed(client: TestClient) -> None:
    answer = sent(client, b"lie")
    assert answer.status_code == 500 and "without an answer" in answer.json()["error"]


def test_a_page_from_a_checking_process_is_shown_without_scripts(client: TestClient) -> None:
    where = sent(client, b"pages x").headers["location"]
    page = client.get(f"{where}/files/report.html")
    assert page.status_code == 200 and "sandbox" in page.headers["content-security-policy"]
    assert "script-src" not in page.headers["content-security-policy"]
    assert page.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/dev/null", "null"),
        ("..", "unnamed file"),
        ("a\u202egpj.exe", "a\ufffdgpj.exe"),
        ("x" * 2000, "x" * 200),
    ],
)
def test_a_name_like_a_path_is_only_ever_shown(client: TestClient, tmp_path: Path, name: str, shown: str) -> None:
    assert sent(client, b"report x", name).json()["file"] == shown
    assert not [p for p in tmp_path.rglob("*") if "passwd" in p.name or "boot" in p.name]


def test_an_upload_over_the_limit_is_cut_off(client: TestClient) -> None:
    answer = sent(client, b"report " + bytes(300_000))
    assert answer.status_code == 413 and "larger than" in answer.json()["error"]


def test_a_length_far_over_the_limit_is_refused_before_anything_is_read(client: TestClient) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x", "content-length": str(10**12)}
    assert client.post("/api/check", content=b"", headers=headers).status_code == 413


FORM = "multipart/form-data; boundary=x"
LONG_PART = b'--x\r\nContent-Disposition: form-data; name="file"\r\nX-Y: ' + b"y" * 20_000 + b"\r\n\r\na\r\n--x--\r\n"
FILE_PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
PATH_PART = b'--x\r\nContent-Disposition: form-data; name="path"\r\n\r\n/etc/passwd\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", FORM, 400),
        (b"--x\r\nnonsense", FORM, 400),
        (b"a=1", "application/x-www-form-urlencoded", 415),
        (b"{}", "application/json", 415),
        (b"--x--\r\n", "multipart/form-data", 400),
        (FILE_PART + b"\r\n--x--\r\n", FORM, 422),
        (FILE_PART + b"report cut", FORM, 400),
        (FILE_PART + b"a\r\n" + FILE_PART + b"b\r\n--x--\r\n", FORM, 422),
        (PATH_PART, FORM, 422),
        (LONG_PART, FORM, 400),
    ],
)
def test_a_request_that_is_no_upload_is_one_line(client: TestClient, body: bytes, kind: str, status: int) -> None:
    answer = client.post("/api/check", content=body, headers={"content-type": kind})
    assert answer.status_code == status and set(answer.json()) == {"error"}


def test_cancelling_stops_the_process_and_removes_the_file(client: TestClient, tmp_path: Path) -> None:
    where = sent(client, b"hang", headers={"Prefer": "respond-async"}).headers["location"]
    for _ in range(200):
        if client.get(f"{where}/status").json()["step"] == "Looking at its faces":
            break
        time.sleep(0.05)
    assert client.delete(where).status_code == 204
    assert [p.name for p in (tmp_path / "spool").rglob("*") if p.is_file()] == ["lock"]
    assert client.get(where).status_code == 404


def test_a_job_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with served(tmp_path, limits=Limits(upload_bytes=1000, job_seconds=0.5)) as client:
        answer = sent(client, b"hang")
    assert answer.status_code == 500 and "longer than" in answer.json()["error"]


def test_half_a_message_holds_nobody_up(tmp_path: Path) -> None:
    with served(tmp_path, limits=Limits(upload_bytes=1000, job_seconds=1.0), workers=1) as client:
        answer = sent(client, b"half")
        assert answer.status_code == 500 and "longer than" in answer.json()["error"]
        assert sent(client, b"report x").status_code == 200
    with served(tmp_path, workers=1) as client:
        where = sent(client, b"half", headers={"Prefer": "respond-async"}).headers["location"]
        time.sleep(0.5)
        assert client.delete(where).status_code == 204
        assert sent(client, b"report x").status_code == 200


def test_a_flood_of_evidence_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_BYTES", 60_000)
    monkeypatch.setattr(jobs, "MOST_TOLD_BYTES", 2_000)
    with served(tmp_path) as client:
        where = sent(client, b"flood x").headers["location"]
        evidence = client.get(f"{where}/evidence").json()
        (job,) = client.app.state.desk.board._jobs.values()  # type: ignore[attr-defined]
    assert 1 <= len(evidence["files"]) <= 7 and "tracks" not in evidence
    assert job.bytes_kept <= 60_000 + 2_000


def test_sixteen_clients_at_once_each_get_their_own_answer(client: TestClient) -> None:
    def ask(number: int) -> tuple[int, Any]:
        answer = sent(client, f"report {number}".encode(), f"{number}.mp4")
        return number, answer.json()

    with ThreadPoolExecutor(16) as pool:
        for number, said in pool.map(ask, range(16)):
            assert (said["file"], said["said"]) == (f"{number}.mp4", str(number))


def test_a_full_line_is_told_to_come_again(tmp_path: Path) -> None:
    with served(tmp_path, workers=1, waiting=1) as client:
        wait = {"Prefer": "respond-async"}
        answers = [sent(client, b"hang", headers=wait) for _ in range(4)]
        refused = [answer for answer in answers if answer.status_code == 503]
        assert refused and int(refused[0].headers["retry-after"]) > 0
        for answer in answers:
            if answer.status_code == 202:
                client.delete(answer.headers["location"])
        assert sent(client, b"report x").status_code == 200


def test_answers_are_forgotten_after_a_while(tmp_path: Path) -> None:
    with served(tmp_path, kept_seconds=0.01) as client:
        where = sent(client, b"report x").headers["location"]
        board = client.app.state.desk.board  # type: ignore[attr-defined]
        for _ in range(100):
            if not board._jobs:
                break
            time.sleep(0.1)
        assert board._jobs == {}, "forgotten although nobody asks"
        assert client.get(where).status_code == 404


def test_processes_that_do_not_start_are_an_answer_too(tmp_path: Path) -> None:
    app = create_app(
        ServeSettings(limits=SMALL), prepare=web_stand_ins.prepare_nothing, preload=(), spool_base=tmp_path / "spool"
    )
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        answer = sent(client, b"report x")
    assert answer.status_code == 500 and "does not start" in answer.json()["error"]


def test_stopping_the_server_ends_what_runs_and_leaves_nothing(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        sent(client, b"hang", headers={"Prefer": "respond-async"})
        board = client.app.state.desk.board  # type: ignore[attr-defined]
        job = next(iter(board._jobs.values()))
    assert job.state is State.CANCELLED and job.is_complete
    assert list((tmp_path / "spool").iterdir()) == []
    assert not [one for one in threading.enumerate() if one.name.startswith("runner")]


def test_progress_comes_as_events_until_the_job_is_complete(client: TestClient) -> None:
    where = sent(client, b"report x", headers={"Prefer": "respond-async"}).headers["location"]
    with client.stream("GET", f"{where}/events") as stream:
        told = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    assert told[-1]["complete"] and told[-1]["state"] == "done"


def test_a_forged_clip_needs_a_declaration(client: TestClient) -> None:
    files = {"portrait": ("p.png", b"report x"), "speech": ("s.wav", b"x")}
    refused = client.post("/api/forge", files=files)
    assert refused.status_code == 422 and "declaration" in refused.json()["error"]
    assert client.post("/api/forge", files=files, data={"declaration": "nonexistent"}).status_code == 200


def test_the_description_names_every_route_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert {"/api/check", "/api/jobs/{job_id}", "/api/forge"} <= set(described["paths"])
    form = described["paths"]["/api/check"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file"]
    assert client.get("/docs").status_code == 404


@pytest.mark.parametrize(
    "path", ["/static/..%2fserver.py", "/static/index.html", "/static/%00", "/api/jobs/%2e%2e", "/x"]
)
def test_no_path_of_a_request_reaches_the_disk(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (404, 422)


def test_a_wrong_method_is_told_all_that_the_address_allows(client: TestClient) -> None:
    number = "A" * 24
    for path, allowed in ((f"/api/jobs/{number}", "DELETE, GET"), ("/api/check", "POST"), ("/", "GET, HEAD")):
        answer = client.put(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_the_description_names_the_kinds_of_what_is_no_json(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for end, kinds in (("files/{name}", {"image/jpeg", "text/html", "video/mp4"}), ("events", {"text/event-stream"})):
        assert set(paths[f"/api/jobs/{{job_id}}/{end}"]["get"]["responses"]["200"]["content"]) == kinds


def test_the_page_and_all_it_needs_comes_from_here(client: TestClient) -> None:
    page = client.get("/").text
    names = ["app.js", "page.css", "report.js"]
    for name in names:
        asset = client.get(f"/static/{name}")
        assert asset.status_code == 200 and "http" not in asset.text.replace("http://www.w3.org/2000/svg", "")
    assert page.count("https://") == 0
