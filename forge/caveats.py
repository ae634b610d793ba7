"""What a user of a dataset should know about its design before trusting a figure: one line each, none when all is well.

for line in caveats(plan, 1000): ...
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from forge.casting_designs import Designed, lacking
from forge.design import face_factors_of
from forge.headcount import Headcount
from forge.plan import Plan, PlannedClip
from forge.splits import UNSTATED
from media.catalog import Label

LOOKED_AT = 2000
"""Clips whose lengths are looked at."""
OFTEN_ENOUGH = 10
"""After so many times through all combinations, a part of one more does not matter."""
BALANCED = (0.8, 1.25)
"""Real over synthetic clips that still count as balanced."""


def caveats(
    plan: Plan, limit: int, count: Headcount | None = None, seen: Sequence[PlannedClip] | None = None
) -> tuple[str, ...]:
    """What is not as the recipe would have it, for want of material or of clips.

    Args:
        plan: of the dataset.
        limit: numbers that are planned.
        count: of its clips, when somebody has counted them.
        seen: some of its clips.
    """
    count = count or Headcount.of(plan, limit)
    seen = list(islice(plan.clips(limit, ids=False), LOOKED_AT)) if seen is None else seen
    out = [*_of_material(plan, limit, count)]
    if isinstance(plan.casting, Designed):
        out += _of_design(plan, plan.casting, limit)
    shorter = sum(1 for clip in seen if clip.frames < int(plan.recipe.seconds[0] * plan.recipe.fps))
    if shorter:
        share = 100 * shorter / len(seen)
        out.append(f"shorter than the recipe asks, for want of longer material: {share:.0f}% of the clips")
    return tuple(out)


def _of_material(plan: Plan, limit: int, count: Headcount) -> Iterator[str]:
    if not plan.speech_is_split:
        yield "too few speech recordings to keep them apart: the same recording is heard in several splits"
    for label in Label:
        missing = [split for split in count.splits if not count.clips(split, label)]
        if missing and (label is Label.SYNTHETIC or plan.reals):
            yield f"too few people for all splits: no {label.value} clips in {', '.join(missing)}"
    if not plan.reals:
        yield "no real material: no real clips, and nothing to measure false alarms on"
    elif len(plan.reals) * plan.clips_a_pair < limit:
        pairs = -(-limit // plan.clips_a_pair)
        then = "the dataset ends there" if isinstance(plan.casting, Designed) else "after that all clips are synthetic"
        yield f"real material for {len(plan.reals):,} of {pairs:,} pairs: {then}"
    real, synthetic = count.clips(label=Label.REAL), count.clips(label=Label.SYNTHETIC)
    if real and synthetic and not BALANCED[0] <= real / synthetic <= BALANCED[1]:
        yield f"labels are not balanced: {real:,} real and {synthetic:,} synthetic clips"


def _of_design(plan: Plan, casting: Designed, limit: int) -> Iterator[str]:
    recipe = plan.recipe
    for split, named in casting.makers.items():
        for maker, can_work in dict.fromkeys(named):
            if not can_work:
                yield f"{maker.name} makes nothing in {split}, for want of {lacking(maker, *casting.numbers[split])}"
    pairs = min(-(-limit // plan.clips_a_pair), len(plan.reals) or limit)
    if recipe.groups and casting.balanced_pairs < pairs and plan.reals:
        yield f"groups of people are used equally often for the first {casting.balanced_pairs:,} pairs only"
    if recipe.groups and all(set(group.split(", ")) == {UNSTATED} for group in casting.groups):
        yield f"the tables say nothing of {', '.join(recipe.groups)}: people are not grouped"
    of_real = sorted({maker.name for named in casting.makers.values() for maker, _ in named if not maker.animates})
    if face_factors_of(recipe) and of_real:
        yield f"{', '.join(face_factors_of(recipe))}: of animated faces only, not of {', '.join(of_real)}"
    if recipe.combinations > 1:
        yield from _of_combinations(plan, pairs)


def _of_combinations(plan: Plan, pairs: int) -> Iterator[str]:
    """Strata in which some combinations come once more than others, where that can be seen."""
    size = plan.recipe.combinations
    parts = (plan.casting.part(index) for index in range(pairs))
    strata = Counter(part.spot.stratum for part in parts if part is not None)
    for stratum, count in strata.items():
        if count % size and count < OFTEN_ENOUGH * size:
            yield f"{stratum}: {count} pairs for {size} combinations, so not every one comes equally often"
