"""What a file says about itself without a signature: its format, its camera, and the marks that generators leave.

Everything here can be edited by anybody: facts are shown, marks are believed only by rule 4 of `detect.verdict`.
"""

from __future__ import annotations

import re
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detect.detector import DetectError
from media.clip import MediaError
from provenance.claims import SourceType

EDGE_BYTES = 4 * 1024 * 1024
"""How much of a file's beginning and of its end is searched for metadata; writers put it in one of the two."""

GENERATOR_TEXTS = {
    "parameters": "Stable Diffusion web UI",
    "sd-metadata": "InvokeAI",
    "invokeai_metadata": "InvokeAI",
    "Dream": "InvokeAI",
    "workflow": "ComfyUI",
    "prompt": "ComfyUI",
    "fooocus_scheme": "Fooocus",
}
"""PNG text entries in which picture generators keep their settings."""

GENERATOR_NAMES = re.compile(
    r"midjourney|stable diffusion|dall[-·]?e|novelai|comfyui|invokeai|fooocus|adobe firefly|flux\.1|ideogram"
    r"|heygen|synthesia",
    re.IGNORECASE,
)
"""Names of generators as their own software writes them into "Software" and "CreatorTool"."""

JOB_NUMBER = re.compile(r"Job ID: [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
XMP_PACKET = re.compile(rb"<x:xmpmeta.{0,262144}?</x:xmpmeta>", re.DOTALL)
XMP_SOURCE_TYPE = re.compile(r"DigitalSourceType[^<]{0,80}?(?:=\s*[\"']|>)\s*([^\"'<\s]{1,200})")
XMP_TOOL = re.compile(r"CreatorTool[^<]{0,20}?(?:=\s*[\"']|>)\s*([^\"'<]{1,200})")
CHINESE_LABEL = re.compile(rb"AIGC.{0,64}?\{[^{}]{0,400}?Label[\"'&quot;\s:]{1,20}1", re.DOTALL)
"""The implicit label of GB 45438-2025: a JSON object `AIGC` whose `Label` is 1 (generated)."""


PARSING_FAULTS = (ValueError, SyntaxError, EOFError, TypeError, LookupError, ArithmeticError, struct.error)
"""What Pillow's readers of metadata raise on damaged files, by design and by accident."""


@dataclass(frozen=True)
class Fact:
    """One line about the file."""

    name: str
    value: str


@dataclass(frozen=True)
class FileFacts:
    """What a file says about itself."""

    kind: str
    """"video", "picture" or "other"."""
    size_bytes: int
    facts: tuple[Fact, ...]
    unsigned_marks: tuple[str, ...] = ()
    """One sentence for each trace of a generator."""

    def __post_init__(self) -> None:
        """Refuse kinds that do not exist and negative sizes."""
        if self.kind not in ("video", "picture", "other"):
            raise ValueError(f'kind must be "video", "picture" or "other", got {self.kind!r}')
        if self.size_bytes < 0:
            raise ValueError(f"size_bytes must not be negative, got {self.size_bytes}")


def file_facts(path: Path) -> FileFacts:
    """Read format and metadata; what cannot be read is left out, since the detectors will say so.

    Raises:
        DetectError: where the file cannot be opened at all.
    """
    try:
        size = path.stat().st_size
        edges = _edges(path, size)
    except OSError as error:
        raise DetectError(f"cannot read {path}: {error.strerror or error}") from error
    picture = _picture_facts(path)
    kind, facts, marks = picture if picture is not None else ("other", (), ())
    if picture is None:
        video = _video_facts(path)
        kind, facts = ("video", video) if video else ("other", ())
    facts = (Fact("Size", in_bytes(size)), *facts)
    return FileFacts(kind, size, facts, tuple(dict.fromkeys((*marks, *metadata_marks(edges)))))


def metadata_marks(content: bytes) -> tuple[str, ...]:
    """Traces of a generator in the XMP packets and labels of some bytes of a file, one sentence each."""
    marks: list[str] = []
    for packet in XMP_PACKET.finditer(content):
        xmp = packet.group().decode("utf-8", "replace")
        for found in XMP_SOURCE_TYPE.finditer(xmp):
            kind = found.group(1).rstrip("/").rsplit("/", 1)[-1]
            if any(kind == known.value and known.is_synthetic for known in SourceType):
                marks.append(f'Its XMP metadata names the digital source type "{kind}".')
        for found in XMP_TOOL.finditer(xmp):
            if GENERATOR_NAMES.search(found.group(1)):
                marks.append(f'Its XMP metadata names the tool "{found.group(1).strip()[:80]}".')
    if CHINESE_LABEL.search(content):
        marks.append('It carries the label "AIGC" of GB 45438-2025: generated.')
    return tuple(dict.fromkeys(marks))


def in_bytes(count: int) -> str:
    """A size as people write it: 812 B, 3.4 MB."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable: the last unit always returns")


def _edges(path: Path, size: int) -> bytes:
    """The first and the last EDGE_BYTES of a file, joined where they meet."""
    with path.open("rb") as file:
        start = file.read(EDGE_BYTES)
        if size <= EDGE_BYTES:
            return start
        file.seek(max(EDGE_BYTES, size - EDGE_BYTES))
        return start + b"\n" + file.read(EDGE_BYTES)


def _picture_facts(path: Path) -> tuple[str, tuple[Fact, ...], tuple[str, ...]] | None:
    """Kind, facts and marks of a picture from its header; None where it is no picture. No pixel is decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # damaged tags and large sizes: what cannot be read is left out, without a word on stderr
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                moving = bool(getattr(image, "is_animated", False))
                exif = {key: _plain(value) for key, value in image.getexif().items()}
                texts = {str(key): _plain(value) for key, value in image.info.items() if isinstance(value, str)}
                shape = Fact(
                    "Picture", f"{image.format}, {image.width} x {image.height}" + (", moving" if moving else "")
                )
    except UnidentifiedImageError:
        return None
    except (OSError, *PARSING_FAULTS, Image.DecompressionBombError):
        # a damaged or oversized picture: the detectors say what is wrong with it
        return "picture", (), ()
    # tag numbers of EXIF 2.3: make, model, software, date
    named = {271: "Camera maker", 272: "Camera", 305: "Software", 306: "Date in the file"}
    facts = [shape, *(Fact(name, exif[tag][:120]) for tag, name in named.items() if exif.get(tag))]
    if not exif:
        facts.append(Fact("EXIF", "none"))
    marks = [
        f'It carries the settings of a picture generator ({maker}) in its text entry "{key}".'
        for key, maker in GENERATOR_TEXTS.items()
        if key in texts and (maker != "ComfyUI" or texts[key].startswith("{"))
    ]
    for said in (exif.get(305, ""), texts.get("Software", "")):
        if GENERATOR_NAMES.search(said):
            marks.append(f'Its metadata names a generator: "{said[:80]}".')
    # a caption may speak about a generator: only the job number that Midjourney leaves counts there
    if any(JOB_NUMBER.search(said) for said in (exif.get(270, ""), texts.get("Description", ""))):
        marks.append("Its description carries a Midjourney job number.")
    return ("video" if moving else "picture"), tuple(facts), tuple(marks)


def _plain(value: Any) -> str:
    """A metadata value as text of bounded length."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "").strip()[:8192]


def _video_facts(path: Path) -> tuple[Fact, ...]:
    """Facts of a video stream; empty where there is none."""
    from media.video import probe

    try:
        facts = probe(path)
    except (MediaError, OSError):
        return ()
    rate = f"{float(facts.fps):.5g} frames a second" + (", variable" if facts.variable_frame_rate else "")
    lines = [
        Fact("Video", f"{facts.codec}, {facts.width} x {facts.height}, {facts.pixel_format}"),
        Fact("Length", f"{facts.duration_seconds:.1f} s"),
        Fact("Rate", rate),
        Fact("Sound", f"{facts.sample_rate_hz} Hz, {facts.channels} channels" if facts.has_sound else "none"),
    ]
    if facts.rotation_degrees:
        lines.append(Fact("Turned", f"by {facts.rotation_degrees} degrees when shown"))
    return tuple(lines)
