"""The browser of one dataset, named on the command line. A request names a clip by its number, never by a path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from countermark.web.contract import ERRORS, ErrorLine, JobStatus
from countermark.web.jobs import Job
from countermark.web.settings import ServeError
from media.catalog import Catalog, Label, Sample
from media.clip import MediaError
from provenance.formats import SNIFF_BYTES, sniff_format

SHOWN_TYPES = frozenset({"video/mp4", "video/quicktime", "video/x-matroska", "image/png", "image/jpeg", "image/webp"})
"""What a clip is sent as, by its content; anything else is not sent, and could not be played."""
PAGE = 24

Number = Annotated[int, PathParameter(ge=0, le=10_000_000, description="Number of a clip, from 0.")]
Submit = Callable[[Request, Path, str], Job]


def load_catalog(path: Path) -> tuple[Path, Catalog]:
    """The folder of a dataset and its catalog.

    Raises:
        ServeError: where there is none, or it is damaged.
    """
    try:
        catalog = Catalog.load(path)
    except MediaError as error:
        raise ServeError(str(error)) from error
    root = path if path.is_dir() else path.parent
    return root.resolve(), catalog


def catalog_router(path: Path, submit: Submit) -> APIRouter:
    """Routes that browse a dataset.

    Args:
        path: its folder, or its catalog.jsonl.
        submit: puts the check of one of its clips in line.

    Raises:
        ServeError: as `load_catalog`.
    """
    root, catalog = load_catalog(path)
    labels = {str(key[0]): count for key, count in catalog.counts("label").items()}
    splits = {str(key[0] or "none"): count for key, count in catalog.counts("split").items()}
    router = APIRouter(prefix="/api/catalog")
    errors: dict[int | str, dict[str, Any]] = {404: {"model": ErrorLine}, **ERRORS}

    @router.get("", summary="Clips of the dataset, a page at a time", response_model=None, responses=errors)
    def samples(
        first: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
        count: Annotated[int, Query(ge=1, le=200)] = PAGE,
        label: Annotated[Label | None, Query()] = None,
        split: Annotated[str | None, Query(max_length=100)] = None,
        search: Annotated[str, Query(max_length=200)] = "",
    ) -> Response:
        chosen = [
            (number, sample)
            for number, sample in enumerate(catalog)
            if matches(sample, label=label, split=split, search=search)
        ]
        return JSONResponse(
            {
                "name": catalog.name,
                "clips": len(catalog),
                "labels": labels,
                "splits": splits,
                "is_attested": any((root / name).is_file() for name in ("dataset.intoto.dsse.json",)),
                "found": len(chosen),
                "samples": [{"number": n, **s.to_json()} for n, s in chosen[first : first + count]],
            }
        )

    @router.get(
        "/clips/{number}",
        summary="The file of a clip",
        response_class=Response,
        responses={200: {"content": {kind: {} for kind in sorted(SHOWN_TYPES)}}, **errors},
    )
    def clip(number: Number) -> Response:
        place = clip_file(root, catalog, number)
        with place.open("rb") as stream:
            kind = sniff_format(stream.read(SNIFF_BYTES))
        if kind not in SHOWN_TYPES:
            raise HTTPException(422, "this clip is of a kind that browsers do not play")
        return FileResponse(place, media_type=kind)

    @router.post(
        "/clips/{number}/check",
        summary="Check a clip of the dataset",
        response_model=None,
        status_code=202,
        responses={202: {"model": JobStatus}, **errors},
    )
    async def check(request: Request, number: Number) -> Response:
        place = clip_file(root, catalog, number)
        job = submit(request, place, catalog.samples[number].path)
        return JSONResponse(job.status(), 202, headers={"location": f"/api/jobs/{job.id}"})

    return router


def matches(sample: Sample, *, label: Label | None, split: str | None, search: str) -> bool:
    """Whether a clip has a label, is in a split, and holds a text in one of its plain facts."""
    if label is not None and sample.label is not label:
        return False
    if split is not None and (sample.split or "none") != split:
        return False
    words = search.casefold()
    facts = (sample.id, sample.path, sample.person, sample.maker, sample.recipe, sample.codec)
    return not words or any(words in fact.casefold() for fact in facts if fact)


def clip_file(root: Path, catalog: Catalog, number: int) -> Path:
    """The file of a clip, which must lie inside the dataset, links followed.

    Raises:
        HTTPException: 404 where there is none.
    """
    if number >= len(catalog):
        raise HTTPException(404, f"the dataset has {len(catalog)} clips, numbered from 0")
    place = (root / catalog.samples[number].path).resolve()
    if not place.is_relative_to(root) or not place.is_file():
        raise HTTPException(404, "the file of this clip is not in the dataset any more")
    return place
