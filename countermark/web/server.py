"""The page and its API: from settings to an application. START HERE when you read `countermark.web`.

    app = create_app(ServeSettings())

A request goes this way: `access` lets it in, `uploads` puts its file into the `spool`, `jobs` gives it a place in the
line, a `cell` runs `tasks` on it, and what comes back is kept in memory until it is fetched. The page in `static/` is a
client of the same API as everybody else.

POST /api/check answers with the report when it is found within half a minute; otherwise, or at once where the header
`Prefer: respond-async` asks for it, with 202 and the address of the job, which answers 202 until it has the report.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from countermark import __version__
from countermark.web.access import Access
from countermark.web.catalogs import catalog_router
from countermark.web.cell import Prepare
from countermark.web.contract import ERRORS, FORGE_FORM, UPLOAD_FORM, CheckReport, ErrorLine, JobStatus, MadeClip
from countermark.web.jobs import BLOB_TYPES, Board, Full, Job, State
from countermark.web.settings import ServeSettings
from countermark.web.spool import Spool
from countermark.web.tasks import PRELOAD, prepare_tasks
from countermark.web.uploads import Form, FormPlan, UploadError, receive

PATIENCE_SECONDS = 30.0
"""How long a request waits for its report before it is sent to the job's address."""
GLANCE_SECONDS = 0.05
MOST_GLANCE_SECONDS = 0.25
"""Between two looks at a job for which a request waits: the first ones are short, for quick answers."""
STATIC_TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}
REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
"""For pages that a checking process wrote: shown without scripts, whatever is in them."""

CHECK_FORM = FormPlan(files=("file",))
FILM_FORM = FormPlan(files=("portrait", "speech"), texts=("declaration", "consent", "license", "emotion", "size"))

JobId = Annotated[str, PathParameter(pattern="^[A-Za-z0-9_-]{16,40}$", description="Number of a job.")]


def create_app(
    settings: ServeSettings,
    *,
    prepare: Prepare | None = None,
    preload: Sequence[str] = PRELOAD,
    spool_base: Path | None = None,
) -> FastAPI:
    """The application; its processes and its folder live as long as it runs.

    Args:
        settings: addresses, limits, secrets.
        prepare: what checking processes begin with; the real work unless given.
        preload: modules that these processes share.
        spool_base: where uploads lie; the system's temporary folder unless given.
    """
    work: Prepare = prepare or partial(prepare_tasks, settings.threads)

    @asynccontextmanager
    async def alive(app: FastAPI) -> AsyncIterator[None]:
        with Spool.opened(spool_base) as spool:
            board = Board(settings, work, preload=preload)
            board.start()
            app.state.desk = Desk(settings, board, spool)
            try:
                yield
            finally:
                await asyncio.to_thread(board.close)

    app = FastAPI(
        title="Countermark",
        version=__version__,
        summary="Is this file synthetic, how sure is that, on what evidence, and who signed for it?",
        docs_url=None,
        redoc_url=None,
        lifespan=alive,
        # every answer is JSON of ours: the framework's own error pages and slash redirects are not
        redirect_slashes=False,
    )
    app.add_middleware(Access, settings=settings)
    _add_error_lines(app)
    _add_page(app, settings)
    _add_api(app)
    if settings.catalog is not None:
        app.include_router(catalog_router(settings.catalog, submit_check))
    return app


class Desk:
    """What the routes share: settings, the board of jobs, the folder of uploads."""

    def __init__(self, settings: ServeSettings, board: Board, spool: Spool) -> None:
        """Keep them."""
        self.settings, self.board, self.spool = settings, board, spool

    def limits(self) -> dict[str, Any]:
        """The limits as a process wants them."""
        return asdict(self.settings.limits)


async def take_job(request: Request, plan: FormPlan, make: Callable[[Form, Path], tuple[str, dict[str, Any]]]) -> Job:
    """Receive a form and put its job in line; nothing stays on the disk where that fails.

    Raises:
        HTTPException: 503 when the line is full; whatever `receive` refuses.
    """
    desk: Desk = request.app.state.desk
    try:
        with desk.board.seat() as seat:
            folder = desk.spool.new_folder()
            try:
                form = await receive(request, folder, plan, desk.settings.limits)
                kind, task = make(form, folder)
                return seat.submit(Job(kind, {**task, "folder": str(folder), "limits": desk.limits()}, folder))
            except BaseException:
                await asyncio.to_thread(_remove, folder)
                raise
    except Full:
        line = "too many files are waiting to be checked; try again in a few seconds"
        raise HTTPException(503, line, headers={"retry-after": "5"}) from None
    except UploadError as problem:
        # the rest of the body was not read: this connection is of no more use
        raise HTTPException(problem.status, str(problem), headers={"connection": "close"}) from None


def submit_check(request: Request, path: Path, name: str) -> Job:
    """Check a file that lies on this machine already, such as a clip of the catalog.

    Raises:
        HTTPException: 503 when the line is full.
    """
    desk: Desk = request.app.state.desk
    try:
        with desk.board.seat() as seat:
            folder = desk.spool.new_folder()
            task = check_task(desk.settings, path, name, evidence=True)
            return seat.submit(Job("check", {**task, "folder": str(folder), "limits": desk.limits()}, folder))
    except Full:
        raise HTTPException(503, "too many files are waiting to be checked", headers={"retry-after": "5"}) from None


def check_task(settings: ServeSettings, path: Path, name: str, *, evidence: bool) -> dict[str, Any]:
    """What a checking process is told."""
    trust = [str(one.resolve()) for one in settings.trust]
    return {"name": "check", "path": str(path), "names": {str(path): name}, "evidence": evidence, "trust": trust}


def film_task(form: Form, folder: Path) -> tuple[str, dict[str, Any]]:
    """What a filming process is told.

    Raises:
        UploadError: 422 where a wish makes no sense; the rest is judged by the generator.
    """
    wish = {name: form.texts.get(name, "") for name in FILM_FORM.texts}
    if wish["declaration"] not in ("consent", "nonexistent"):
        raise UploadError(422, "declaration must be consent or nonexistent: nothing undeclared is animated")
    wish["size"] = wish["size"] or "512"
    if wish["size"] not in ("256", "512"):
        raise UploadError(422, "size must be 256 or 512")
    portrait, speech = form.files["portrait"], form.files["speech"]
    names = {str(one.path): one.name for one in (portrait, speech)}
    return "forge", {
        "name": "forge",
        "portrait": str(portrait.path),
        "speech": str(speech.path),
        "names": names,
        "wish": wish,
    }


async def answered(request: Request, job: Job) -> Response:
    """The answer to a request that made a job: its result if that comes soon, else where it will be.

    A client that goes away cancels its job.
    """
    if prefers_async(request.headers.get("prefer", "")):
        return result_of(job)
    end, glance = asyncio.get_running_loop().time() + PATIENCE_SECONDS, GLANCE_SECONDS
    while not job.state.is_over and asyncio.get_running_loop().time() < end:
        if await request.is_disconnected():
            request.app.state.desk.board.cancel(job)
            break
        await asyncio.sleep(glance)
        glance = min(1.2 * glance, MOST_GLANCE_SECONDS)
    return result_of(job)


def prefers_async(prefer: str) -> bool:
    """Whether a Prefer header (RFC 7240) asks for an answer at once."""
    return any(one.strip().split(";")[0].lower() == "respond-async" for one in prefer.split(","))


def result_of(job: Job) -> Response:
    """A job as an answer: 200 with its report, 202 while it is not over, or the one line of why there is none."""
    where = {"location": f"/api/jobs/{job.id}"}
    match job.state:
        case State.DONE:
            return Response(job.report, media_type="application/json", headers=where)
        case State.REFUSED:
            return JSONResponse({"error": job.line}, 422)
        case State.FAILED:
            return JSONResponse({"error": job.line}, 500)
        case State.CANCELLED:
            return JSONResponse({"error": "this job was cancelled"}, 410)
        case _:
            return JSONResponse(job.status(), 202, headers={**where, "retry-after": "1"})


def found_job(request: Request, job_id: str) -> Job:
    """The job of a number.

    Raises:
        HTTPException: 404 for one that never was, or is forgotten.
    """
    job: Job | None = request.app.state.desk.board.find(job_id)
    if job is None:
        raise HTTPException(404, "there is no such job; it was cancelled, or its answer was forgotten after a while")
    return job


def _add_api(app: FastAPI) -> None:
    made: dict[int | str, dict[str, Any]] = {202: {"model": JobStatus, "description": "Where the answer will be."}}

    @app.post(
        "/api/check",
        summary="Check a video or picture",
        response_model=None,
        responses={200: {"model": CheckReport}, **made, **ERRORS},
        openapi_extra=UPLOAD_FORM,
    )
    async def check(
        request: Request, evidence: Annotated[bool, Query(description="Also gather pictures and face tracks.")] = False
    ) -> Response:
        settings = request.app.state.desk.settings

        def task(form: Form, folder: Path) -> tuple[str, dict[str, Any]]:
            upload = form.files["file"]
            return "check", check_task(settings, upload.path, upload.name, evidence=evidence)

        return await answered(request, await take_job(request, CHECK_FORM, task))

    @app.post(
        "/api/forge",
        summary="Make a declared portrait say a speech: a signed clip",
        response_model=None,
        responses={200: {"model": MadeClip}, **made, **ERRORS},
        openapi_extra=FORGE_FORM,
    )
    async def forge(request: Request) -> Response:
        return await answered(request, await take_job(request, FILM_FORM, film_task))

    _add_jobs(app)


def _add_jobs(app: FastAPI) -> None:
    gone: dict[int | str, dict[str, Any]] = {404: {"model": ErrorLine}, **ERRORS}

    @app.get(
        "/api/jobs/{job_id}",
        summary="The answer of a job, once it is there",
        response_model=None,
        responses={
            200: {"model": CheckReport | MadeClip},
            202: {"model": JobStatus},
            410: {"model": ErrorLine},
            **gone,
        },
    )
    async def job(request: Request, job_id: JobId) -> Response:
        return result_of(found_job(request, job_id))

    @app.delete("/api/jobs/{job_id}", summary="Cancel a job and forget its answer", status_code=204, responses=gone)
    async def cancel(request: Request, job_id: JobId) -> Response:
        one = found_job(request, job_id)
        request.app.state.desk.board.cancel(one)
        for _ in range(60):
            # the file is gone when this is answered, not some time later
            if one.is_complete:
                break
            await asyncio.sleep(GLANCE_SECONDS)
        return Response(status_code=204)

    @app.get("/api/jobs/{job_id}/status", summary="How far a job is", response_model=JobStatus, responses=gone)
    async def status(request: Request, job_id: JobId) -> Response:
        return JSONResponse(_status(request, found_job(request, job_id)))

    @app.get(
        "/api/jobs/{job_id}/events",
        summary="How far a job is, as server-sent events, until it is complete",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}, **gone},
    )
    async def events(request: Request, job_id: JobId) -> Response:
        return StreamingResponse(_news(request, found_job(request, job_id)), media_type="text/event-stream")

    @app.get(
        "/api/jobs/{job_id}/evidence",
        summary="Face tracks and pictures, where they were asked for",
        response_model=None,
        responses={200: {"model": dict[str, Any]}, **gone},
    )
    async def evidence(request: Request, job_id: JobId) -> Response:
        one = found_job(request, job_id)
        facts = {"complete": one.is_complete, "files": sorted(one.blobs), **one.evidence}
        return JSONResponse(facts)

    @app.get(
        "/api/jobs/{job_id}/files/{name}",
        summary="A picture, the report as a page, or the clip that was made",
        response_class=Response,
        responses={200: {"content": {kind.partition(";")[0]: {} for kind in BLOB_TYPES.values()}}, **gone},
    )
    async def blob(
        request: Request,
        job_id: JobId,
        name: Annotated[str, PathParameter(pattern=r"^[a-z]{1,12}(-[0-9]{1,3})?\.(jpg|html|mp4)$")],
    ) -> Response:
        content = found_job(request, job_id).blobs.get(name)
        if content is None:
            raise HTTPException(404, "this job has no such file")
        headers = {"content-disposition": f'attachment; filename="countermark-{name}"'}
        if name.endswith(".html"):
            headers["content-security-policy"] = REPORT_POLICY
        return Response(content, media_type=BLOB_TYPES[Path(name).suffix], headers=headers)


def _status(request: Request, job: Job) -> dict[str, Any]:
    return {**job.status(), "before": request.app.state.desk.board.position(job)}


async def _news(request: Request, job: Job) -> AsyncIterator[str]:
    """An event whenever something changed, and one every ten seconds so that nobody gives up."""
    last, quiet = "", 0.0
    while True:
        facts = _status(request, job)
        seconds = facts.pop("seconds")
        text = json.dumps(facts)
        if text != last or quiet > 10.0:
            last, quiet = text, 0.0
            yield f"event: status\ndata: {json.dumps({**facts, 'seconds': seconds})}\n\n"
        if facts["complete"]:  # as it was told, not as it is by now
            return
        await asyncio.sleep(0.1)
        quiet += 0.1


def _add_page(app: FastAPI, settings: ServeSettings) -> None:
    """The page and what belongs to it, read once: no path of a request ever reaches the disk."""
    static = {
        one.name: one.read_bytes()
        for one in files("countermark.web").joinpath("static").iterdir()
        if Path(one.name).suffix in STATIC_TYPES
    }

    async def page() -> Response:
        return Response(static["index.html"], media_type=STATIC_TYPES[".html"])

    app.add_api_route("/", page, methods=["GET", "HEAD"], include_in_schema=False)

    @app.get("/static/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in static or name == "index.html":
            raise HTTPException(404, "there is no such file")
        return Response(static[name], media_type=STATIC_TYPES[Path(name).suffix])

    @app.get("/api/about", summary="What this server offers and allows", response_model=dict[str, Any])
    async def about() -> dict[str, Any]:
        return {
            "tool": "countermark",
            "version": __version__,
            "has_catalog": settings.catalog is not None,
            "limits": {
                name: getattr(settings.limits, name)
                for name in ("upload_bytes", "video_seconds", "pixels", "speech_seconds", "job_seconds")
            },
        }


def _add_error_lines(app: FastAPI) -> None:
    """Every error of the framework as one line of JSON."""

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = {"allow": allowed_methods(app, request)} if error.status_code == 405 else error.headers
        return JSONResponse({"error": str(error.detail)}, error.status_code, headers=headers)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        told = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()[:3])
        return JSONResponse({"error": re.sub(r"[^\x20-\x7e]", "?", told)[:400]}, 422)

    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)


def allowed_methods(app: FastAPI, request: Request) -> str:
    """What may be asked at an address (RFC 9110, 10.2.1): the framework names the methods of one of its routes only."""
    there = (route for route in app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted({method for route in there for method in getattr(route, "methods", None) or ()}))


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
