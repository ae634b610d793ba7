"""Facing points of the two lips, and how the skin around them gives way when they would cross; used by `bake_head.py`.

Axes: V vertices, T triangles, N pairs, M vertices that give way.
"""

from __future__ import annotations

import heapq
import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

REACH = 1.4
"""Centimetres along the skin from the border of a lip to where nothing moves any more."""
SPREAD = 0.25
"""Centimetres over which neighbouring pairs share a place."""
CORNER = 0.3
"""Centimetres of difference between the ways to both lips from which a place belongs to one of them."""


def lip_pairs(vertices: Array, skin_T3: Ints, marks: Ints, pairs: int = 15) -> tuple[Ints, Ints, Ints, Array]:
    """Facing points of the two lips and how the skin gives way.

    Args:
        vertices: (V, 3) face at rest.
        skin_T3: triangles of the face and of the mouth's inside.
        marks: (68,) vertices of the classic face points; 60 to 67 go around the opening.
        pairs: N.

    Returns:
        (N,) upper and lower vertices, (M,) vertices that are pushed, (N, M) by how much for each centimetre of
        crossing: half of it at the border of the upper lip, minus half at that of the lower one.
    """
    upper_line = border(vertices, skin_T3, marks[[60, 61, 62, 63, 64]])
    lower_line = border(vertices, skin_T3, marks[[60, 67, 66, 65, 64]])
    stations = vertices[marks[60], 0] + np.linspace(0.06, 0.94, pairs) * (
        vertices[marks[64], 0] - vertices[marks[60], 0]
    )
    upper, lower = (
        np.array([line[np.argmin(abs(vertices[line, 0] - x))] for x in stations]) for line in (upper_line, lower_line)
    )
    away: dict[int, Array] = {}
    for n in range(pairs):
        for lip, start in enumerate((int(upper[n]), int(lower[n]))):
            for vertex, far in walk(vertices, skin_T3, start, REACH).items():
                away.setdefault(vertex, np.full((2, pairs), np.inf))[lip, n] = far
    pushed = np.array(sorted(away))
    push = np.zeros((pairs, len(pushed)))
    for m, vertex in enumerate(pushed.tolist()):
        above, below = away[vertex].min(1)
        lip, nearest = (0, above) if above <= below else (1, below)
        share = np.exp(-0.5 * ((away[vertex][lip] - nearest) / SPREAD) ** 2)
        # near a corner of the mouth a place is as near to one lip as to the other and stays
        decided = min(1.0, abs(below - above) / CORNER)
        push[:, m] = (0.5, -0.5)[lip] * share / share.sum() * (1 - nearest / REACH) ** 2 * decided
    return upper, lower, pushed, push


def border(vertices: Array, triangles: Ints, stops: Ints) -> Ints:
    """Vertices of a short way over edges through some stops."""
    way: set[int] = set()
    for start, end in itertools.pairwise(stops.tolist()):
        back = walk(vertices, triangles, end, 4.0)
        here = start
        way.add(here)
        while here != end:
            around = np.unique(triangles[(triangles == here).any(1)]).tolist()
            here = min((vertex for vertex in around if vertex in back), key=lambda vertex: back[vertex])
            way.add(here)
    return np.array(sorted(way))


def walk(vertices: Array, triangles: Ints, start: int, limit: float) -> dict[int, float]:
    """Distance along edges, in centimetres, from a vertex to those within a limit."""
    neighbours: dict[int, set[int]] = {}
    near = np.linalg.norm(vertices[triangles] - vertices[start], axis=2).min(1) < limit
    for a, b, c in triangles[near].tolist():
        for p, q in ((a, b), (b, c), (c, a)):
            neighbours.setdefault(p, set()).add(q)
            neighbours.setdefault(q, set()).add(p)
    best, queue = {start: 0.0}, [(0.0, start)]
    while queue:
        far, here = heapq.heappop(queue)
        if far > best[here]:
            continue
        for there in neighbours.get(here, ()):
            total = far + float(np.linalg.norm(vertices[here] - vertices[there]))
            if total <= limit and total < best.get(there, np.inf):
                best[there] = total
                heapq.heappush(queue, (total, there))
    return best
