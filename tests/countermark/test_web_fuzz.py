"""Requests that no honest client sends: every one is answered in one line of JSON, and nothing is left behind."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")

import web_stand_ins
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from countermark.web.server import create_app
from countermark.web.settings import Limits, ServeSettings
from countermark.web.uploads import shown_name

SPOOL = {}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    base = tmp_path_factory.mktemp("fuzz") / "spool"
    SPOOL["base"] = base
    chosen = ServeSettings(limits=Limits(upload_bytes=50_000, job_seconds=5.0))
    app = create_app(chosen, prepare=web_stand_ins.prepare, preload=(), spool_base=base)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as one:
        yield one


def plain(status: int, content: bytes) -> None:
    assert status != 500 and b"Traceback" not in content and content.count(b"\n") == 0, (status, content[:300])


parts = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"--x\r\n",
                b"--x--\r\n",
                b"--x--",
                b"\r\n",
                b"\r\n\r\n",
                b'Content-Disposition: form-data; name="file"; filename="a.mp4"\r\n',
                b'Content-Disposition: form-data; name="file"\r\n',
                b"Content-Disposition: form-data; name=\r\n",
                b"content-disposition: form-data; name=\"portrait\"; filename*=utf-8''%00%ff\r\n",
                b"Content-Transfer-Encoding: base64\r\n",
                b": \r\n",
            ]
        ),
        st.binary(max_size=80),
    ),
    max_size=12,
).map(b"".join)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=parts, route=st.sampled_from(["/api/check", "/api/forge"]))
@example(
    body=b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\r\n--x--\r\n', route="/api/forge"
)
def test_no_body_breaks_the_reading_of_a_form(client: TestClient, body: bytes, route: str) -> None:
    answer = client.post(
        route, content=body, headers={"content-type": "multipart/form-data; boundary=x", "prefer": "respond-async"}
    )
    plain(answer.status_code, answer.content)
    if answer.status_code == 202:
        client.delete(answer.headers["location"])
    assert [p.name for p in Path(SPOOL["base"]).rglob("*") if p.is_file()] == ["lock"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=80))
@example(kind="multipart/form-data; boundary=" + "x" * 500)
@example(kind='multipart/form-data; boundary="')
def test_no_content_type_breaks_it(client: TestClient, kind: str) -> None:
    answer = client.post("/api/check", content=b"--x--", headers={"content-type": kind.encode("latin-1")})
    plain(answer.status_code, answer.content)
    assert answer.status_code in (400, 415, 422)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"]),
    route=st.sampled_from(
        ["/api/jobs/{}", "/api/jobs/{}/status", "/api/jobs/{}/files/{}", "/static/{}", "/api/{}", "/{}"]
    ),
    text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
)
def test_no_address_breaks_a_route(client: TestClient, method: str, route: str, text: str) -> None:
    from urllib.parse import quote

    answer = client.request(method, route.replace("{}", quote(text, safe="")))
    plain(answer.status_code, answer.content if answer.headers.get("content-type") == "application/json" else b"")


@given(st.text(max_size=300))
@example("../" * 50)
@example("\\\\server\\share\\" + "\x00")
def test_a_shown_name_is_never_a_path_and_never_empty(name: str) -> None:
    shown = shown_name(name)
    assert shown and "/" not in shown and "\\" not in shown and len(shown) <= 200
    assert not any(unicodedata.category(one) in ("Cc", "Cf", "Cs") for one in shown)
