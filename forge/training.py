"""Train any network of the generator by the name of a recipe.

    train_by_recipe(Training("face_cpu", out=Path("run"), data=Path("takes")))

Families: `face` (the latent face), `student` (its laptop student), `render_net` (perceptual and identity losses, and
scoring), `motion` (speech to motion).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forge.portrait import ForgeError


@dataclass(frozen=True)
class Training:
    """What a person asks for; None is the recipe's own choice."""

    recipe: str
    out: Path
    data: Path | None = None
    held: Path | None = None
    resume: Path | None = None
    render_net: Path | None = None
    minutes: float | None = None
    device: str | None = None
    people: str = "rendered"
    photos: Path | None = None
    workers: int = 0
    seed: int = 0


Train = Callable[[Training, Callable[[str], None]], Path]


def known_recipes() -> Mapping[str, tuple[str, str]]:
    """Recipe name -> (family, what it is for)."""
    return {
        name: (family, " ".join((make.__doc__ or "").split()))
        for family, recipes in _families().items()
        for name, make in recipes.items()
    }


def train_by_recipe(wanted: Training, say: Callable[[str], None] = lambda line: None) -> Path:
    """Train, and return where the weights lie.

    Raises:
        ForgeError: for an unknown recipe or an option that it has no use for; and what training itself refuses.
    """
    families = _families()
    family = next((name for name, recipes in families.items() if wanted.recipe in recipes), None)
    if family is None:
        raise ForgeError(f"recipe must be one of {', '.join(known_recipes())}, got {wanted.recipe!r}")
    train, used = {
        "face": (_face, {"data", "resume", "render_net", "people", "photos", "workers", "device"}),
        "render_net": (_render_net, {"data", "resume", "people", "photos", "workers", "device"}),
        "student": (_student, {"data", "held", "resume"}),
        "motion": (_motion, {"data", "resume", "device"}),
    }[family]
    useless = [name for name, value in _set_options(wanted).items() if value and name not in used]
    if useless:
        raise ForgeError(f"--{useless[0].replace('_', '-')} has no effect on {wanted.recipe}; leave it out")
    return train(wanted, say)


def _families() -> dict[str, Mapping[str, Callable[[], Any]]]:
    from forge.face.recipes import FACE_RECIPES, RENDER_NET_RECIPES
    from forge.face.student_recipes import STUDENT_RECIPES
    from forge.train_motion import RECIPES

    return {"face": FACE_RECIPES, "student": STUDENT_RECIPES, "render_net": RENDER_NET_RECIPES, "motion": RECIPES}


def _set_options(wanted: Training) -> dict[str, bool]:
    """Which options differ from what nobody asked for."""
    usual = Training(wanted.recipe, wanted.out)
    names = ("data", "held", "resume", "render_net", "device", "people", "photos", "workers")
    return {name: getattr(wanted, name) != getattr(usual, name) for name in names}


def _run_options(wanted: Training) -> Any:
    from forge.train_face import RunOptions

    return RunOptions(
        minutes=wanted.minutes,
        seed=wanted.seed,
        device=wanted.device,
        people=wanted.people,
        photo_folder=wanted.photos,
        workers=wanted.workers,
    )


def _face(wanted: Training, say: Callable[[str], None]) -> Path:
    from forge.train_face import train_face

    return train_face(
        wanted.recipe,
        wanted.data,
        wanted.out,
        resume=wanted.resume,
        render_net=wanted.render_net,
        options=_run_options(wanted),
    )


def _render_net(wanted: Training, say: Callable[[str], None]) -> Path:
    from forge.face.recipes import RENDER_NET_RECIPES
    from forge.train_render_net import train_render_net

    recipe = RENDER_NET_RECIPES[wanted.recipe]()
    return train_render_net(recipe, wanted.out, data=wanted.data, resume=wanted.resume, options=_run_options(wanted))


def _student(wanted: Training, say: Callable[[str], None]) -> Path:
    from forge.face.student_recipes import student_recipe_named
    from forge.face.train_student import make_pairs, resume, train

    recipe = replace(student_recipe_named(wanted.recipe), seed=wanted.seed)
    if wanted.data is None:
        raise ForgeError(f"{wanted.recipe} needs --data: a folder of takes made by `countermark forge studio`")
    pairs, held = wanted.out / "pairs", wanted.out / "held"
    say(f"making pairs of the takes in {wanted.data}")
    make_pairs(wanted.data, pairs)
    if wanted.held is not None:
        make_pairs(wanted.held, held)
    run = resume(wanted.resume / "state.pt", recipe) if wanted.resume else None
    train(recipe, pairs, held if wanted.held else None, wanted.out, minutes=wanted.minutes or recipe.minutes, run=run)
    return wanted.out


def _motion(wanted: Training, say: Callable[[str], None]) -> Path:
    from forge.train_motion import RECIPES, train_motion

    if wanted.data is None:
        raise ForgeError(f"{wanted.recipe} needs --data: a folder made by python -m forge.motion.sequences")
    recipe = RECIPES[wanted.recipe]()
    recipe = replace(recipe, device=wanted.device) if wanted.device else recipe
    train_motion(
        recipe, wanted.data, wanted.out, seed=wanted.seed, time_budget_minutes=wanted.minutes, resume=wanted.resume
    )
    return wanted.out / "motion.safetensors"
