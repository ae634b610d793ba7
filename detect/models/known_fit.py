"""Fit what `known` knows: a table of photographs and other pictures of faces -> known_v1.json.

    python -m detect.models.known_fit TABLE.csv known_v1.json

The table has the columns `file` (beside the table, or absolute), `kind` ("photo" for photographs and generators that
imitate them, any other word for the rest), `split` (train or test), and perhaps `source` and `group` to report by.
Photographs are redrawn and degraded here; drawings of other hands can be in the table too.

Axes: N faces, D features, K directions.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from detect.detector import DetectError
from detect.metrics import roc_auc
from detect.models.drawings import Manner, draw
from detect.models.known import CLIP, KnownModel, face_features, imagenet_trunk
from detect.prepare import LookPlan, look_at
from detect.report import write_whole
from media.clip import UInt8Array
from media.faces import FaceFinder

Array = NDArray[np.float64]
PHOTO = "photo"
"""The kind of photographs in a table."""
STRENGTH = 0.005
"""Inverse of the L2 penalty of rule 2."""
TURNED_AWAY = 0.012
"""Share of photographs that each limit may turn away. On 275 new faces: 1.1 % in all at .01 here, 4.0 % at .015."""
DIRECTIONS = 8
"""In which the distance of rule 3 is measured: beyond the first few, photographs differ by noise."""


def degraded(crop: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """A crop as a platform might pass it on: smaller, softer, compressed, tinted, or without its colour."""
    height, width = crop.shape[:2]
    if rng.random() < 0.25:
        crop = np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    if rng.random() < 0.4:
        share = float(rng.uniform(0.3, 0.9))
        small = cv2.resize(crop, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        crop = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    if rng.random() < 0.3:
        crop = np.asarray(cv2.GaussianBlur(crop, (0, 0), float(rng.uniform(0.5, 1.8))), np.uint8)
    if rng.random() < 0.5:
        tint = (crop / 255.0) ** float(rng.uniform(0.6, 1.6)) * rng.uniform(0.85, 1.15, 3)
        crop = np.asarray(np.clip(255 * tint, 0, 255), np.uint8)
    if rng.random() < 0.6:
        quality = int(rng.integers(15, 90))
        _, packed = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
        unpacked = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
        crop = np.asarray(cv2.cvtColor(unpacked, cv2.COLOR_BGR2RGB), np.uint8)
    return crop


@dataclass(frozen=True)
class Row:
    """One picture of a table: file, kind ("photo" or anything else), split, and any group to report by."""

    file: Path
    kind: str
    split: str
    source: str
    group: str


def read_rows(table: Path) -> list[Row]:
    """The rows of a CSV table with the columns file, kind, split, and perhaps source and group.

    Raises:
        DetectError: when it cannot be read or a column is missing.
    """
    try:
        lines = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise DetectError(f"{table}: cannot be read ({error})") from error
    if not lines or not {"file", "kind", "split"} <= lines[0].keys():
        raise DetectError(f"{table}: needs rows with the columns file, kind and split")
    names = ("kind", "split", "source", "group")
    return [Row(table.parent / line["file"], *(str(line.get(name) or "") for name in names)) for line in lines]


def faces_of(rows: Sequence[Row]) -> list[tuple[Row, UInt8Array]]:
    """Each row in which a face was found, with the crops of its most visible one."""
    found = []
    with FaceFinder() as finder:
        for row in rows:
            look = look_at(row.file, LookPlan(dense_seconds=1), finder)
            if look.faces:
                found.append((row, look.faces[0].crops))
    return found


@dataclass(frozen=True, eq=False)
class Faces:
    """Features of faces, each with the row it comes from."""

    rows: tuple[Row, ...]
    features_ND: Array
    copies: tuple[str, ...]
    """"plain", "degraded" or "redrawn"."""

    def chosen(self, wanted: Callable[[Row, str], bool]) -> Faces:
        """The faces whose row and copy are wanted."""
        kept = [n for n, (row, copy) in enumerate(zip(self.rows, self.copies, strict=True)) if wanted(row, copy)]
        return Faces(tuple(self.rows[n] for n in kept), self.features_ND[kept], tuple(self.copies[n] for n in kept))

    def inside(self, files: Set[str]) -> Faces:
        """The faces of these files."""
        return self.chosen(lambda row, copy: str(row.file) in files)

    def outside(self, files: Set[str]) -> Faces:
        """The faces of all other files."""
        return self.chosen(lambda row, copy: str(row.file) not in files)


def gather(rows: Sequence[Row], seed: int = 0) -> Faces:
    """The faces of a table: as they are, degraded, and photographs also redrawn."""
    rng, manners = np.random.default_rng(seed), list(Manner)
    trunk, number = imagenet_trunk(), 0
    kept: list[Row] = []
    copies: list[str] = []
    features: list[Array] = []
    for row, crops in faces_of(rows):
        crop = crops[len(crops) // 2]
        made = {"plain": crop, "degraded": degraded(crop, rng)}
        if row.kind == PHOTO:
            made["redrawn"] = degraded(draw(crop, manners[number % len(manners)], rng), rng)
            number += 1
        features.append(face_features(trunk, list(made.values())))
        copies += made
        kept += [row] * len(made)
    if not features:
        raise DetectError("no face was found in any picture of the table; look at its file names")
    return Faces(tuple(kept), np.concatenate(features), tuple(copies))


def weights_of(faces: Faces) -> Array:
    """(N,) with which every hand counts alike: each kind of picture, redrawn photographs being one of them."""
    hands = [f"{row.kind} {copy == 'redrawn'}" for row, copy in zip(faces.rows, faces.copies, strict=True)]
    counts = Counter(hands)
    return np.array([1.0 / counts[hand] for hand in hands]) / len(counts)


def fit_known(
    photo_ND: Array,
    other_ND: Array,
    *,
    other_weight_N: Array | None = None,
    turned_away: float = 0.01,
    held_out: tuple[Array, Array] | None = None,
) -> KnownModel:
    """Fit rules 2 and 3.

    Args:
        photo_ND: features of photographs, degraded and not.
        other_ND: of drawings, degraded and not.
        other_weight_N: of the drawings, sum 1; alike unless given. Photographs weigh as much as all of them together.
        turned_away: share of photographs that each limit may turn away.
        held_out: (N,) logits and (N,) distances of photographs by models that were not fitted on them, on which the
            limits are fixed; those of `photo_ND` themselves unless given, which turns more away than it promises.
    """
    mean_D, scale_D = photo_ND.mean(axis=0), photo_ND.std(axis=0) + 1e-6
    z_ND = np.clip((np.concatenate([photo_ND, other_ND]) - mean_D) / scale_D, -CLIP, CLIP)
    drawn_N = np.arange(len(z_ND)) >= len(photo_ND)
    against_N = np.full(len(other_ND), 1.0 / len(other_ND)) if other_weight_N is None else other_weight_N
    weight_N = np.concatenate([np.full(len(photo_ND), 1.0 / len(photo_ND)), against_N]) * len(z_ND) / 2
    fitted = LogisticRegression(C=STRENGTH, max_iter=500).fit(z_ND, drawn_N, sample_weight=weight_N)
    _, spread_K, axes_KD = np.linalg.svd(z_ND[: len(photo_ND)], full_matrices=False)
    kept_KD = axes_KD[:DIRECTIONS] / (spread_K[:DIRECTIONS, None] / np.sqrt(len(photo_ND)))
    loose = KnownModel(
        tuple(map(float, mean_D)),
        tuple(map(float, scale_D)),
        tuple(map(float, fitted.coef_[0])),
        float(fitted.intercept_[0]),
        0.0,
        tuple(tuple(map(float, one)) for one in kept_KD),
        1.0,
    )
    logits_N, distances_N = held_out or (loose.drawn(photo_ND), loose.distance(photo_ND))
    drawn_above = float(np.quantile(logits_N, 1 - turned_away))
    # a limit at the edge of few photographs is a guess: a little beyond it
    distant_above = 1.1 * float(np.quantile(distances_N, 1 - turned_away))
    return replace(loose, drawn_above=drawn_above, distant_above=distant_above)


def fit_on(faces: Faces) -> KnownModel:
    """Fit on the faces of split "train" and measure on those of "test"; then fit on both, for that is what ships.

    Raises:
        DetectError: when one side has no face to teach with.
    """
    plain = [row for row, copy in zip(faces.rows, faces.copies, strict=True) if copy == "plain"]
    counts = Counter(f"{row.split}: {row.kind}, {row.source or 'no source'}" for row in plain)
    half = fit_with_limits(faces.chosen(lambda row, copy: row.split == "train"))
    tested = faces.chosen(lambda row, copy: row.split == "test" and copy == "plain")
    if not tested.rows:
        return replace(half, data={"faces": dict(sorted(counts.items()))})
    figures = {"of": "the same fit on the faces of split train alone", **figures_of(half, tested)}
    whole = fit_with_limits(faces.chosen(lambda row, copy: row.split in ("train", "test")))
    return replace(whole, data={"faces": dict(sorted(counts.items()))}, figures=figures)


def fit_with_limits(faces: Faces, folds: int = 5) -> KnownModel:
    """Fit on all faces, the limits fixed on photographs that were held out in turn.

    Raises:
        DetectError: when one side has no face.
    """
    photos = faces.chosen(lambda row, copy: row.kind == PHOTO and copy != "redrawn")
    others = faces.chosen(lambda row, copy: row.kind != PHOTO or copy == "redrawn")
    if not photos.rows or not others.rows:
        found = f"{len(photos.rows)} photographs and {len(others.rows)} others"
        raise DetectError(f"{found} with a face and split train: both are needed to fit")
    fold_of = {name: n % folds for n, name in enumerate(sorted({str(row.file) for row in faces.rows}))}
    logits: list[Array] = []
    distances: list[Array] = []
    for fold in range(folds):
        outside = {name for name, number in fold_of.items() if number != fold}
        held = photos.outside(outside).chosen(lambda row, copy: copy == "plain")
        rest, against = photos.inside(outside), others.inside(outside)
        if held.rows and rest.rows and against.rows:
            model = fit_known(rest.features_ND, against.features_ND, other_weight_N=weights_of(against))
            logits.append(model.drawn(held.features_ND))
            distances.append(model.distance(held.features_ND))
    limits = (np.concatenate(logits), np.concatenate(distances)) if logits else None
    return fit_known(
        photos.features_ND,
        others.features_ND,
        other_weight_N=weights_of(others),
        turned_away=TURNED_AWAY,
        held_out=limits,
    )


def figures_of(model: KnownModel, tested: Faces) -> dict[str, Any]:
    """AUC of rule 2, and the share turned away by kind, by source and by group, on faces it was not fitted on."""
    away_N = model.turned_away(tested.features_ND)
    figures: dict[str, Any] = {"faces": len(tested.rows)}
    auc = roc_auc([row.kind != PHOTO for row in tested.rows], model.drawn(tested.features_ND))
    figures["auc"] = None if isnan(auc) else round(auc, 4)
    for part in ("kind", "source", "group"):
        values = [getattr(row, part) for row in tested.rows]
        names = [
            (row.kind if part == "kind" else f"{row.kind}, {v}") if v else ""
            for row, v in zip(tested.rows, values, strict=True)
        ]
        figures[f"turned_away_by_{part}"] = {
            name: {"share": round(float(away_N[[n == name for n in names]].mean()), 4), "faces": names.count(name)}
            for name in sorted(set(names))
            if name
        }
    return figures


def main(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV with the columns file, kind and split.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Where the JSON goes.")],
) -> None:
    """Fit the model of known faces, measure it on the split "test", print the figures."""
    try:
        model = fit_on(gather(read_rows(table)))
        digest = hashlib.sha256(table.read_bytes()).hexdigest()
        described = replace(model, data={**model.data, "table_sha256": digest}).to_json()
        write_whole(json.dumps(described, separators=(",", ":")) + "\n", output)
    except DetectError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(model.figures, indent=1))


if __name__ == "__main__":
    typer.run(main)
