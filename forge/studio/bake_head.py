"""Make `assets/head.npz` once: the ICT-FaceKit head, named by ARKit, cut down to what a camera sees, packed small.

    python -m forge.studio.bake_head ict_head.npz
    python -m forge.studio.bake_head --calibrate results.json        # how the landmarker reads it: calibrate.py

`ict_head.npz` holds the arrays of ICT-FaceKit's light model (USC, MIT licence): neutral vertices, 57 expressions, 100
modes of shape, triangles, texture coordinates, the documented part of each vertex. Not run by users. What is done:
    1. left and right halves get ARKit's names; what ARKit has and the model has not is composed    `arkit_actions`
    2. hidden surfaces go: eyeballs' backs, the inner iris, insides that no camera sees            `drawable`, `visible`
    3. vertices are split where texture seams run                                                   `split_at_seams`
    4. displacements become integers with one step for each mode                                    `integers`
    5. the landmarker's 478 points are found on the surface, over renders of many people            `bake_landmarks.py`
    6. the same bytes are written every time                                                        `pack_head`
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from forge.motion.features import BLENDSHAPE_NAMES
from forge.studio.bake_landmarks import landmark_residual, on_lid_margins, place_landmarks
from forge.studio.bake_lips import lip_pairs
from forge.studio.calibrate import CURVES, STRENGTHS, fit, measure, studio_draw, tracked_share
from forge.studio.head import (
    ASSET,
    DYNAMICS,
    PART,
    HeadModel,
    pose_matrix,
    project,
    standard_focal,
    unpack_head,
)
from forge.studio.ict_model import (
    IRIS_DEGREES,
    SHAPE_MODES,
    Source,
    arkit_actions,
    drawable,
    fit_eyeball,
    name_parts,
    pivot_motion,
    read_source,
    straighten,
    tongue_triangles,
)
from forge.studio.rasterise import rasterise
from media.faces import FaceFinder
from media.landmarks import LANDMARKS

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

STEP_CENTIMETRES = 0.001
"""Coarsest step of a stored displacement: 0.005 mm of error at most."""
LICENCE = "MIT; ICT-FaceKit, Copyright (c) 2020 USC Institute for Creative Technologies, Vision and Graphics Laboratory"
COMPOSED = (
    "browInnerUp = browInnerUp_L + browInnerUp_R",
    "cheekPuff = cheekPuff_L + cheekPuff_R",
    "tongueOut: own displacement of the tongue, forward over the lower lip",
)


def visible(head: HeadModel, pictures: int = 240, size: int = 512) -> NDArray[np.bool_]:
    """(T,) triangles of a head that some camera sees in some face, or that touch one that is seen.

    The skin is kept whole (hair grows on it); of mouth and eyes much lies where no camera ever looks.
    """
    rng = torch.Generator().manual_seed(5)
    seen = torch.isin(head.part_T, torch.tensor([PART["skin"], PART["lips"], PART["neck"]], dtype=torch.uint8))
    for _ in range(pictures):
        dyn = torch.zeros(1, DYNAMICS)
        chosen = torch.randint(len(BLENDSHAPE_NAMES), (6,), generator=rng)
        dyn[0, chosen] = torch.rand(6, generator=rng)
        dyn[0, BLENDSHAPE_NAMES.index("jawOpen")] = torch.rand(1, generator=rng) ** 0.5
        dyn[0, 52:54] = torch.rand(2, generator=rng) * 2 - 1
        pose = torch.cat([(torch.rand(1, 2, generator=rng) * 2 - 1) * torch.tensor([80.0, 45.0]), torch.zeros(1, 4)], 1)
        vertices = head.deform(torch.randn(1, head.modes, generator=rng), dyn)
        matrix = pose_matrix(pose)
        # close to the mouth and the eyes
        screen = project(vertices, matrix, float(standard_focal(size)) * 2.2, size)
        cover = rasterise(screen, head.triangles_T3, size, two_sided=head.two_sided_T)
        seen[cover.triangle_BHW[cover.seen_BHW].unique()] = True
    touched = torch.zeros(int(head.vertex_U.max()) + 1, dtype=torch.bool)
    corner = head.vertex_U[head.triangles_T3]
    touched[corner[seen]] = True
    return (seen | touched[corner].any(1)).numpy()


def split_at_seams(triangles: Ints, triangles_uv: Ints) -> tuple[Ints, Ints, Ints]:
    """One vertex for each pair of a place and a texture place.

    Returns:
        (T, 3) triangles of the new vertices, (V,) their place, (V,) their texture place.
    """
    pairs, index = np.unique(np.stack([triangles.ravel(), triangles_uv.ravel()], 1), axis=0, return_inverse=True)
    return index.reshape(-1, 3), pairs[:, 0], pairs[:, 1]


def tiles(source: Source) -> Array:
    """Texture coordinates (corners of triangles, T x 3 x 2), with pieces that share a tile moved to tiles of their own.

    The model lays face, head, gums, teeth, tear line and lashes side by side along u already; the eyeballs and the
    inner corners lie over the face and go to the tiles 7 to 10.
    """
    corners = source.uv[source.triangles_uv].copy()
    for tile, name in enumerate(("sclera_left", "sclera_right", "eye_blend_left", "eye_blend_right"), start=7):
        corners[source.part == name, :, 0] += tile
    return corners


def integers(values: Array) -> tuple[NDArray[np.uint8], NDArray[np.int8], NDArray[np.float32]]:
    """Displacements (R, U, 3) as low bytes, high bytes and one step for each row."""
    greatest = np.abs(values).reshape(len(values), -1).max(1)
    step = np.where(greatest < STEP_CENTIMETRES * 127, np.maximum(greatest, 1e-6) / 127, STEP_CENTIMETRES)
    whole = np.rint(values / step[:, None, None]).astype(np.int32)
    return (whole & 255).astype(np.uint8), (whole >> 8).astype(np.int8), step.astype(np.float32)


def pack_head(arrays: dict[str, NDArray[Any]]) -> bytes:
    """The asset: a zip of .npy files, LZMA, without dates, so that the same arrays give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.save(member, np.ascontiguousarray(arrays[name]))
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), member.getvalue(), zipfile.ZIP_LZMA)
    return out.getvalue()


def build(source: Source, kept: NDArray[np.bool_] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of the asset; the landmarks still lie on triangle 0.

    Args:
        source: the published model.
        kept: (T,) triangles to keep; by default all that `drawable` allows.
    """
    tongue = tongue_triangles(source)
    balls = {side: fit_eyeball(source, side) for side in ("left", "right")}
    source = straighten(source, balls)
    kept = drawable(source, balls) if kept is None else kept
    parts, corner_uv = name_parts(source, tongue, balls), tiles(source)
    tongue_vertices = np.zeros(len(source.vertices), bool)
    tongue_vertices[source.triangles[tongue]] = True
    actions = arkit_actions(source, tongue_vertices)
    skin = source.triangles[np.isin(source.part, ("face", "mouth_socket"))]
    upper, lower, pushed, push = lip_pairs(source.vertices, skin, source.marks)
    # number the used places and texture places anew
    uv, uv_index = np.unique(corner_uv[kept].reshape(-1, 2), axis=0, return_inverse=True)
    split, place, uv_place = split_at_seams(source.triangles[kept], uv_index.reshape(-1, 3))
    used, vertex = np.unique(place, return_inverse=True)

    first = np.full(len(source.vertices), -1)  # one split vertex of each place, -1 for a place that is gone
    first[place[::-1]] = np.arange(len(place))[::-1]
    stays = first[pushed] >= 0
    copies = [np.flatnonzero(place == p) for p in pushed[stays]]
    eye = np.zeros(len(source.vertices), np.uint8)
    for number, side in enumerate(("left", "right"), start=1):
        eye[source.vertex_part == f"sclera_{side}"] = number
    expression, identity = integers(actions[:, used]), integers(source.identity[:, used])
    facts = {"composed": COMPOSED, "licence": LICENCE, "modes": SHAPE_MODES}
    return {
        "neutral": source.vertices[used].astype(np.float32),
        "vertex": vertex.astype(np.uint16),
        "triangles": split.astype(np.uint16),
        "part": parts[kept],
        "uv": uv[uv_place].astype(np.float32),
        "eye": eye[used],
        "eye_pivot": np.stack([ball.pivot for ball in balls.values()]).astype(np.float32),
        "eye_pivot_identity": np.stack([pivot_motion(source, ball, side) for side, ball in balls.items()], 1).astype(
            np.float32
        ),
        "eye_radius": np.array([ball.radius for ball in balls.values()], np.float32),
        "iris_radius": np.array(
            [ball.radius * np.sin(np.radians(IRIS_DEGREES)) for ball in balls.values()], np.float32
        ),
        "marks": first[source.marks].astype(np.int32),
        "landmark_triangle": np.zeros(LANDMARKS, np.int32),
        "landmark_weight": np.tile(np.array([1, 0, 0], np.float32), (LANDMARKS, 1)),
        "lip_upper": first[upper].astype(np.int32),
        "lip_lower": first[lower].astype(np.int32),
        "lip_push_vertex": np.concatenate(copies).astype(np.int32),
        "lip_push": np.repeat(push[:, stays], [len(c) for c in copies], axis=1).astype(np.float32),
        "expression_low": expression[0],
        "expression_high": expression[1],
        "expression_step": expression[2],
        "identity_low": identity[0],
        "identity_high": identity[1],
        "identity_step": identity[2],
        "facts": np.frombuffer(json.dumps(facts, sort_keys=True).encode(), np.uint8),
    }


def errors_in_millimetres(source: Source, head: HeadModel, kept: NDArray[np.bool_]) -> dict[str, float]:
    """What packing cost: actions at full strength, random people, and the modes of shape that were left out."""
    place = np.unique(source.triangles[kept])
    tongue = np.zeros(len(source.vertices), bool)
    tongue[source.triangles[tongue_triangles(source)]] = True
    one = torch.zeros(int(head.vertex_U.max()) + 1, dtype=torch.int64)
    one[head.vertex_U] = torch.arange(len(head.vertex_U))
    actions = 10 * np.linalg.norm(
        head.expression_EV3[:, one].double().numpy() - arkit_actions(source, tongue)[:, place], axis=-1
    )
    weights = np.random.default_rng(1).standard_normal((20, SHAPE_MODES))
    packed, exact = head.identity_KV3[:, one].double().numpy(), source.identity[:, place]
    people = 10 * np.linalg.norm(np.tensordot(weights, packed - exact, 1), axis=-1)
    return {
        "action_mean": float(actions.mean()),
        "action_max": float(actions.max()),
        "person_mean": float(people.mean()),
        "person_max": float(people.max()),
    }


def bake(path: Path) -> None:
    """The whole way from the published model to the asset."""
    log = logging.getLogger(__name__)
    source = read_source(path)
    balls = {side: fit_eyeball(source, side) for side in ("left", "right")}
    candidates = np.flatnonzero(drawable(straighten(source, balls), balls))
    seen = visible(unpack_head(build(source)))
    kept = np.zeros(len(source.triangles), bool)
    kept[candidates[seen]] = True
    arrays = build(source, kept)
    with FaceFinder(max_faces=1) as finder:
        head = unpack_head(arrays)
        triangle, weight = on_lid_margins(head, *place_landmarks(head, finder))
        arrays |= {"landmark_triangle": triangle.astype(np.int32), "landmark_weight": weight.astype(np.float32)}
        head = unpack_head(arrays)
        log.info("landmarks, in outer-eye distances: %s", landmark_residual(head, finder))
    log.info("packing, in millimetres: %s", errors_in_millimetres(source, head, kept))
    data = pack_head(arrays)
    write(ASSET, data)
    log.info(
        "%s: %d triangles, %d vertices, %.2f MB", ASSET, len(head.triangles_T3), len(head.vertex_U), len(data) / 1e6
    )


def calibrate(results: Path, people: int = 4) -> None:
    """Measure how the landmarker reads the rig; write the curves beside the head and a report."""
    with FaceFinder(max_faces=1) as finder:
        names, truth, reading = measure(studio_draw(), people, finder)
        tracked = tracked_share(finder)
    rows = fit(names, truth, reading)
    found = float(np.isfinite(reading[..., 0]).mean())
    report = {
        "what": "how media.faces reads rendered faces of known coefficients; both sides of a pair driven together",
        "command": "python -m forge.studio.bake_head --calibrate",
        "people": people,
        "strengths": STRENGTHS,
        "faces_found": found,
        "tracked": tracked,
        "read": sum(bool(row["read"]) for row in rows.values()),
        "coefficients": rows,
    }
    write(CURVES, (json.dumps({"strengths": STRENGTHS, "coefficients": rows}, indent=1) + "\n").encode())
    write(results, (json.dumps(report, indent=1) + "\n").encode())


def main() -> None:
    """Bake the head, or calibrate the landmarker on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", help="the published model as arrays, ict_head.npz")
    parser.add_argument("--calibrate", type=Path, metavar="RESULTS", help="measure the landmarker, write a report")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if asked.source is None and asked.calibrate is None:
        parser.error("give the published model to bake, or --calibrate and where the report shall go")
    if asked.source is not None:
        bake(asked.source)
    if asked.calibrate is not None:
        calibrate(asked.calibrate)


def write(path: Path, data: bytes) -> None:
    """Write under a temporary name, then rename."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    temporary.replace(path)


if __name__ == "__main__":
    main()
