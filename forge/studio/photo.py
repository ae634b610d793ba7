"""Portraits as people that the studio can turn, light and animate. Start here.

    people = load_people(Path("portraits"), Path("portraits/people.csv"), cache=Path("people"))
    footage = film(ready(people[0]), motion_FM, size=256)

A folder of pictures and a table are enough. The table has a column `file` (or `id`) and a column `license` (or
`licence`): a portrait without a licence is refused, and so is one that shows somebody, unless the table has that
person's consent.
How a portrait becomes a person, by number:
    1. the face is found and the head rig fitted to its landmarks                              `photo_fit`
    2. the person is cut out of the background                                                 `photo_matte`
    3. the face is laid out flat and evened out in light                                       `photo_texture`
    4. hair, ears, neck and clothes become a relief that wears the picture                     `photo_layers`
    5. the person is filmed as in the portrait; what does not look like it is dropped          `judge`
`photo_widen` makes further people between the ones that passed: `cast_person` gives one for every seed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from forge.portrait import PICTURE_SUFFIXES, Declaration, ForgeError, load_portrait, read_table, sha256_of
from forge.studio.head import FRAME_CENTIMETRES
from forge.studio.photo_film import film, own_motion, ready
from forge.studio.photo_layers import canvas_matrix
from forge.studio.photo_make import Workshop, square_of
from forge.studio.photo_person import HELD_OUT, PhotoPerson, file_name, load_person, save_person
from media.faces import FaceFinder, FaceObservation
from media.landmarks import FACE_OVAL

log = logging.getLogger(__name__)
UInt8Array = NDArray[np.uint8]

HELD_OUT_EVERY = 10
"""Every tenth person of a folder is held out."""
CHECK_SIDE = 256
VERDICTS = "people.json"
"""Beside the people: who was kept and who was dropped, and why."""

MOST_RMS = 0.022
"""Largest root mean square of the landmarks' distances, in parts of the face's width."""
LEAST_FACE_PSNR, LEAST_PSNR = 21.0, 20.0
"""Decibels between the portrait and the person filmed as in it: within the face, and with hair and clothes."""
LEAST_SEEN = 0.5
"""Share of the face that the portrait must show."""
MOST_TURNED = 32.0
"""Degrees of yaw from which half of a face is guesswork."""
LEAST_HAIR_WIDTH, MOST_CUT = 0.9, 0.55
"""Width of head and hair in face widths below which the cut-out lost an ear; and share of a face width that the
picture's upper border may cut off the head."""


@dataclass(frozen=True)
class Verdict:
    """Whether a portrait became a person."""

    name: str
    reason: str = ""
    """Why not; empty for those that did."""
    figures: Mapping[str, float] | None = None

    @property
    def kept(self) -> bool:
        """True when the portrait became a person."""
        return not self.reason


@dataclass(frozen=True)
class Entry:
    """One row of the table."""

    path: Path
    name: str
    licence: str
    declaration: Declaration
    facts: Mapping[str, Any]


def read_people(folder: Path, table: Path) -> list[Entry]:
    """The portraits of a folder that a table lists, with their licences and declarations.

    Raises:
        ForgeError: for a row without a licence, without a picture, or without consent of whoever it shows.
    """
    if not folder.is_dir():
        raise ForgeError(f"{folder}: not a folder; give a folder of portraits and a table of them")
    entries = []
    for number, row in enumerate(_rows(table), 2):
        place = f"{table}, line {number}"
        path = _picture_of(folder, row, place)
        licence = row.get("license") or row.get("licence") or ""
        if not licence:
            raise ForgeError(f"{place}: no licence for {path.name}; fill in the column `license` or remove the row")
        declaration = _declared(row, licence, place)
        known = {"file", "id", "license", "licence", "consent"}
        facts = {key: value for key, value in row.items() if key not in known and value}
        name = row.get("person") or row.get("id") or path.stem
        if Path(name).name != name:
            raise ForgeError(f"{place}: the name {name!r} cannot be that of a file; use letters, digits, - and _")
        entries.append(Entry(path, name, licence, declaration, facts))
    if not entries:
        raise ForgeError(f"{table}: no rows; list the portraits with their licences")
    return entries


def _rows(table: Path) -> list[dict[str, str]]:
    """Rows with a column `file`; a table that names its pictures by `id` is read as well."""
    try:
        return read_table(table)
    except ForgeError as error:
        if "no column `file`" not in str(error):
            raise
    import csv

    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = [{k.strip().lower(): (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(file)]
    if rows and "id" not in rows[0]:
        raise ForgeError(f"{table}: neither a column `file` nor `id`; name the pictures in one of them")
    return rows


def _picture_of(folder: Path, row: Mapping[str, str], place: str) -> Path:
    name = row.get("file", "")
    found = [folder / name] if name else [folder / f"{row.get('id', '')}{suffix}" for suffix in PICTURE_SUFFIXES]
    for path in found:
        if path.is_file() and (name or row.get("id")):
            return path
    raise ForgeError(f"{place}: the picture {name or row.get('id', '')!r} is not in {folder}")


def _declared(row: Mapping[str, str], licence: str, place: str) -> Declaration:
    """On what ground the portrait may be animated."""
    if row.get("consent"):
        return Declaration.consent(row["consent"], licence)
    said = row.get("nonexistent", "").lower()
    # a table of generated pictures says so in words
    generated = "non-existing" in row.get("kind", "").lower() or "nonexistent" in row.get("kind", "").lower()
    if said in ("1", "yes", "true") or (not said and generated):
        return Declaration.nonexistent(licence)
    raise ForgeError(
        f"{place}: neither `nonexistent` nor `consent`; say yes in `nonexistent` when it shows no existing person"
    )


def load_people(
    folder: Path, table: Path, *, cache: Path | None = None, workers: int = 1, first_seed: int = 0
) -> list[PhotoPerson]:
    """Make people of the portraits of a folder; those that do not come out well are left out.

    Args:
        folder: of the pictures.
        table: csv with `file` or `id`, `license`, and `nonexistent`, `consent` or a `kind` that says non-existing.
        cache: where people are kept, one file each; what is there already is read, not made again.
        workers: processes.
        first_seed: number of the first person; every tenth is held out (1,000,000 and up).

    Raises:
        ForgeError: as `read_people`.
    """
    entries = read_people(folder, table)
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    jobs = [(entry, seed_of(first_seed + index), cache) for index, entry in enumerate(entries)]
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            made = list(pool.map(_make_one, jobs, chunksize=4))
    else:
        made = [_make_one(job) for job in jobs]
    if cache is not None:
        write_verdicts(cache / VERDICTS, [verdict for _, verdict in made])
    for _, verdict in made:
        if not verdict.kept:
            log.info("%s: left out, %s", verdict.name, verdict.reason)
    return [person for person, _ in made if person is not None]


def seed_of(index: int) -> int:
    """Number of the person of a portrait: every tenth is held out."""
    return HELD_OUT + index if index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else index


_shop: list[tuple[Workshop, FaceFinder]] = []
"""The prepared head and the face networks of this process."""


def _make_one(job: tuple[Entry, int, Path | None]) -> tuple[PhotoPerson | None, Verdict]:
    entry, seed, cache = job
    digest = sha256_of(entry.path)
    kept = None if cache is None else cache / file_name(entry.name, seed)
    if kept is not None and kept.is_file():
        person = load_person(kept)
        if person.parents == (digest,) and person.licence == entry.licence:
            return person, Verdict(entry.name, figures=person.facts.get("fit"))
    if not _shop:
        _shop.append((Workshop(), FaceFinder()))
    workshop, finder = _shop[0]
    portrait = load_portrait(entry.path, entry.declaration, person=entry.name)
    facts = {**entry.facts, "declaration": str(entry.declaration)}
    try:
        person, verdict = make_person(
            workshop,
            finder,
            portrait.image,
            name=entry.name,
            seed=seed,
            licence=entry.licence,
            digest=digest,
            facts=facts,
        )
    except ForgeError as error:
        return None, Verdict(entry.name, str(error).removeprefix(f"{entry.name}: "))
    if verdict.kept and kept is not None:
        save_person(kept, person)
    return (person if verdict.kept else None), verdict


def make_person(
    workshop: Workshop, finder: FaceFinder, image: UInt8Array, *, name: str, seed: int, licence: str, digest: str,
    facts: Mapping[str, Any],
) -> tuple[PhotoPerson, Verdict]:  # fmt: skip
    """Make and judge one person; the person is given also when the verdict is no.

    Raises:
        ForgeError: when there is no face, or it is too small.
    """
    faces = finder.find(image)
    if not faces:
        raise ForgeError(f"{name}: no face was found; give a portrait with one face from the front")
    person = workshop.make(image, faces[0], name=name, seed=seed, licence=licence, digest=digest, facts=facts)
    likeness = compare(person, image, faces[0])
    figures = {**person.facts["fit"], **likeness}
    person = replace(person, facts={**person.facts, "fit": figures})
    return person, Verdict(name, judge(figures, person), figures)


def compare(person: PhotoPerson, image: UInt8Array, face: FaceObservation) -> dict[str, float]:
    """Decibels between the portrait and the person filmed as in it: within the face, and wherever the person is."""
    with torch.no_grad():
        footage = film(ready(person), own_motion(person), CHECK_SIDE, samples=1, bounded=False)
    drawn = footage.image_F3HW[0].permute(1, 2, 0).numpy().astype(np.float32)
    square = square_of(image, face.landmarks)
    matrix = portrait_matrix(person, len(square.image))
    wanted = cv2.warpAffine(
        cv2.GaussianBlur(square.image, (0, 0), max(0.3, 0.35 / matrix[0, 0])), matrix, (CHECK_SIDE, CHECK_SIDE),
        flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.float32)  # fmt: skip
    inside = cv2.warpAffine(np.ones(square.image.shape[:2], np.uint8), matrix, (CHECK_SIDE, CHECK_SIDE)) > 0
    points = square.landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    oval = np.zeros((CHECK_SIDE, CHECK_SIDE), np.uint8)
    cv2.fillPoly(oval, [np.round(points[list(FACE_OVAL)]).astype(np.int32)], 1)
    figure = (footage.parts_FHW[0].numpy() > 0) & inside
    return {"face_psnr": psnr(drawn, wanted, oval > 0), "person_psnr": psnr(drawn, wanted, figure)}


def portrait_matrix(person: PhotoPerson, side: int) -> NDArray[np.float64]:
    """The (2, 3) map from the worked-on square of the portrait to the picture of `own_motion`, for OpenCV."""
    fit = person.facts["fit"]
    per_cm = side / (fit["room_left"] + fit["room_right"])
    pivot = np.array([fit["room_left"], fit["room_above"]]) * per_cm
    matrix = canvas_matrix(pivot, per_cm)
    scale = CHECK_SIDE / FRAME_CENTIMETRES / per_cm
    matrix[:, :2] = np.eye(2) * scale
    matrix[:, 2] = CHECK_SIDE / 2 - scale * pivot + 0.5 * scale - 0.5
    return matrix


def psnr(a: NDArray[np.float32], b: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Peak signal-to-noise ratio in decibels of two byte pictures within a mask; 0 for an empty one."""
    if not mask.any():
        return 0.0
    error = float(((a[mask] - b[mask]) ** 2).mean())
    return 10.0 * float(np.log10(255.0**2 / max(error, 1e-6)))


def judge(figures: Mapping[str, float], person: PhotoPerson) -> str:
    """Why a person is not good enough to be filmed; empty when it is."""
    rms = figures["landmark_rms"] / figures["face_pixels"]
    checks = (
        (abs(float(person.pose_3[0])) <= MOST_TURNED, f"turned away by {abs(float(person.pose_3[0])):.0f} degrees"),
        (rms <= MOST_RMS, f"the head does not fit: landmarks {100 * rms:.1f}% of the face's width away"),
        (figures["seen"] >= LEAST_SEEN, f"only {100 * figures['seen']:.0f}% of the face is seen"),
        (figures["hair_width"] >= LEAST_HAIR_WIDTH, f"cut out too narrow: {figures['hair_width']:.2f} face widths"),
        (figures["cut_at_top"] <= MOST_CUT or figures["crown"] > 0.45, "the head is cut off at the top"),
        (figures["face_psnr"] >= LEAST_FACE_PSNR, f"the face is not like the portrait: {figures['face_psnr']:.1f} dB"),
        (
            figures["person_psnr"] >= LEAST_PSNR,
            f"hair or clothes differ from the portrait: {figures['person_psnr']:.1f} dB",
        ),
    )
    return next((reason for fine, reason in checks if not fine), "")


def write_verdicts(path: Path, verdicts: Sequence[Verdict]) -> None:
    """Keep who was kept and who was not, as JSON."""
    rows = [{"name": v.name, "kept": v.kept, "reason": v.reason, "figures": dict(v.figures or {})} for v in verdicts]
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)
