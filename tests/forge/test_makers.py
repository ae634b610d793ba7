"""Who makes clips: by names that are one maker's alone, and each loaded once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from quick_maker import QUICK, QuickMaker

from forge.makers import Makers, OpenMakers
from forge.manipulations import MANIPULATIONS
from forge.methods import Method
from forge.portrait import ForgeError
from forge.recipes import tiny

OURS = replace(QUICK, name="foreign:ours")
OTHER = replace(QUICK, name="foreign:other")


@pytest.mark.parametrize(
    "others", [(OURS, OTHER, OURS), (replace(OURS, name="mesh"),), (OURS, replace(MANIPULATIONS["face_swap"]))]
)
def test_two_makers_of_one_name_are_refused(others: tuple[Method, ...]) -> None:
    recipe = replace(tiny(), makers=("foreign:ours",))
    with pytest.raises(ForgeError, match="two makers are called") as refusal:
        Makers.of(recipe, QUICK, others)
    assert "\n" not in str(refusal.value)


def test_makers_of_different_names_are_known_by_them() -> None:
    recipe = replace(tiny(), makers=("foreign:ours", "face_swap"))
    makers = Makers.of(recipe, QUICK, (OURS, OTHER))
    assert dict(makers.named) == {"foreign:ours": OURS, "face_swap": MANIPULATIONS["face_swap"]}
    assert makers.forge_recordings


@pytest.mark.parametrize("kind", ["method", "manipulation"])
def test_a_maker_that_several_clips_ask_for_at_a_time_is_loaded_once(kind: str) -> None:
    opened = []

    def slowly() -> QuickMaker:
        opened.append(1)
        time.sleep(0.2)  # long enough for another clip to ask
        return QuickMaker()

    method, manipulation = replace(OURS, open=slowly), replace(MANIPULATIONS["face_swap"], name="x", open=slowly)
    crew = OpenMakers(Makers(QUICK, {"x": method if kind == "method" else manipulation}))
    with ThreadPoolExecutor(3) as threads:
        found = set(threads.map(getattr(crew, kind), ["x"] * 3))
    assert len(found) == len(opened) == 1
