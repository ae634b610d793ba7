"""What was asked of the learned face, and whether the saved figures say that it was reached.

Each demand is one row: what it is, the figure, and "reached", "not reached" or "not measured". A demand is reached when
the mean says so; whether the interval agrees is beside it. Pure functions over saved figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.face_judging import Row, column, people_of, with_interval
from benchmarks.fidelity import difference_measure, mean_measure, ratio_measure
from benchmarks.identity_probe import Distributions, judge_identity
from detect.metrics import Measure

MOST_POSE_DEGREES = 4.0
MOST_AED_OVER_MESH = 0.7
"""Blendshape error at least 30% below that of `mesh`."""
Rows = Mapping[str, Sequence[Row]]


def paired(rows: Rows, method: str, baseline: str) -> tuple[list[Row], list[Row]]:
    """Rows of two methods on the same frames, in the same order."""
    base = {(row["clip"], row["frame"]): row for row in rows.get(baseline, ())}
    shared = [row for row in rows.get(method, ()) if (row["clip"], row["frame"]) in base]
    return shared, [base[row["clip"], row["frame"]] for row in shared]


def answer(measure: Measure, limit: float, *, above: bool) -> tuple[str, str]:
    """Whether the mean keeps a limit, and whether the whole interval does."""
    if not measure.scored:
        return "not measured", ""
    kept = measure.value > limit if above else measure.value <= limit
    edge = measure.low if above else measure.high
    sure = edge > limit if above else edge <= limit
    return ("reached" if kept else "not reached"), ("yes" if kept and sure else "no")


def acceptance_rows(
    evidence: Mapping[str, Rows], known: Distributions | str, method: str = "vasa"
) -> tuple[dict[str, object], ...]:
    """Every demand that figures can answer.

    Args:
        evidence: saved figures by part ("real", "studio", "cross") and method.
        known: same-person and different-person similarities, or why there are none.
        method: which one is judged.
    """
    table: list[dict[str, object]] = []

    def add(demand: str, measure: Measure, limit: float, *, above: bool, bound: str) -> None:
        reached, sure = answer(measure, limit, above=above)
        table.append(
            {"demand": demand, "wanted": bound, "figure": with_interval(measure), "": reached, "interval agrees": sure}
        )

    for part, name in (("real", "held-out real clips"), ("studio", "held-out rendered people")):
        mine, base = paired(evidence.get(part, {}), method, "mesh")
        for key, label in (("psnr", "PSNR, dB"), ("ssim", "SSIM"), ("psnr_face", "PSNR face, dB")):
            gain = difference_measure(column(mine, key), column(base, key), people_of(mine), reason="not measured")
            add(f"{name}, self-driven: {label} above mesh", gain, 0.0, above=True, bound="> 0")
        ratio = ratio_measure(column(mine, "aed"), column(base, "aed"), people_of(mine), reason="not measured")
        add(f"{name}, self-driven: AED over that of mesh", ratio, MOST_AED_OVER_MESH, above=False, bound="<= 0.7")
    mine, base = paired(evidence.get("cross", {}), method, "mesh")
    pose = mean_measure(column(mine, "apd"), people_of(mine), reason="not measured")
    add("cross-driven: pose error, degrees", pose, MOST_POSE_DEGREES, above=False, bound="<= 4")
    ratio = ratio_measure(column(mine, "aed"), column(base, "aed"), people_of(mine), reason="not measured")
    add("cross-driven: AED over that of mesh", ratio, MOST_AED_OVER_MESH, above=False, bound="<= 0.7")
    identity = judge_identity(column(mine, "csim").tolist(), people_of(mine), known)
    add("cross-driven: identity, 1 same person, 0 somebody else", identity.place, 0.5, above=True, bound="> 0.5")
    return tuple(table)
