"""The API's shapes, for /openapi.json only: answers are written by `detect.report`, `forge.animate` and `jobs`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ErrorLine(BaseModel):
    """Why there is no answer."""

    error: str = Field(description="One plain line.")


class JobStatus(BaseModel):
    """How far a job is."""

    model_config = ConfigDict(extra="allow")
    job: str
    kind: str = Field(description="check or forge")
    state: str = Field(description="waiting, running, done, refused, failed or cancelled")
    step: str = Field(description="What is being done, in words.")
    seconds: float
    complete: bool = Field(description="Whether nothing more will come, evidence included.")


class CheckReport(BaseModel):
    """The report of `countermark detect check --json`, schema countermark.check/1."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)
    schema_name: str = Field(alias="schema", description="countermark.check/1")
    file: str
    sha256: str
    finding: str = Field(
        description="declared_synthetic, synthetic_likely, credential_broken, undecided or no_sign_of_synthesis"
    )
    headline: str
    because: list[str]
    rule: int
    probability: float | None = Field(description="Of synthetic, by the detectors alone; null when they abstained.")
    status: str
    reason: str
    timeline: list[dict[str, float | None]]
    faces: list[dict[str, Any]]
    credential: dict[str, Any]
    file_facts: dict[str, str]
    unsigned_marks: list[str]
    checked: list[str]
    not_checked: list[str]


class MadeClip(BaseModel):
    """What `countermark forge animate` prints; the clip itself is the job's file clip.mp4."""

    model_config = ConfigDict(extra="allow")
    file: str
    sha256: str
    label: str
    frames: int
    fps: str
    declaration: str


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorLine, "description": "The request is malformed."},
    401: {"model": ErrorLine, "description": "The bearer token is missing or wrong."},
    403: {"model": ErrorLine, "description": "The request comes from another site's page."},
    408: {"model": ErrorLine, "description": "The upload took too long."},
    410: {"model": ErrorLine, "description": "The job was cancelled."},
    413: {"model": ErrorLine, "description": "The upload is too large."},
    415: {"model": ErrorLine, "description": "The request is no multipart/form-data."},
    421: {"model": ErrorLine, "description": "The Host header names another server."},
    422: {"model": ErrorLine, "description": "The file cannot be worked on."},
    500: {"model": ErrorLine, "description": "Reading the file crashed its reader, or took too long."},
    503: {"model": ErrorLine, "description": "Too many files are waiting; see Retry-After."},
    507: {"model": ErrorLine, "description": "The server cannot store the upload."},
}
_FILE = {"type": "string", "format": "binary"}


def _form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


UPLOAD_FORM = _form({"file": {**_FILE, "description": "A video or picture."}}, ["file"])
FORGE_FORM = _form(
    {
        "portrait": {**_FILE, "description": "A picture with one face."},
        "speech": {**_FILE, "description": "What is said."},
        "declaration": {"type": "string", "enum": ["nonexistent", "consent"]},
        "consent": {"type": "string", "description": "Who agreed, when, to what; where declaration is consent."},
        "license": {"type": "string"},
        "emotion": {"type": "string", "description": "Name, or name:strength."},
        "size": {"type": "string", "enum": ["256", "512"]},
    },
    ["portrait", "speech", "declaration"],
)
