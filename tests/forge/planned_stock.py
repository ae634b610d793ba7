"""Materials and makers that exist in plans only."""

from __future__ import annotations

from forge.design import MakerFacts, method_facts
from forge.material import Material, Role, Window
from media.catalog import Label

FACTS = {
    facts.name: facts
    for facts in (
        method_facts("mesh"),
        method_facts("vasa"),
        MakerFacts("blend", animates=False),
        MakerFacts("swap", animates=False, needs_donor=True),
        MakerFacts("lips", animates=False, needs_speech=True),
        MakerFacts("voice", animates=False, needs_speech=True, needs_sound=True),
        MakerFacts("null", animates=False, label=Label.REAL),
    )
}


def material(
    role: Role,
    n: int,
    person: str | None = None,
    *,
    sound: bool = True,
    windows: int = 2,
    language: str = "en",
    seconds: float = 10.0,
    **traits: str,
) -> Material:
    at = list(Role).index(role)
    whole = (Window(0, 0, (100, 100, 300, 300)),)
    parts = tuple(Window(4.0 * k, 4.0, (10, 10, 90, 90)) for k in range(windows))
    return Material(
        role,
        f"/{role}/{n}",
        sha256=f"{10_000 * at + n:064x}",
        person=person if person is not None else f"{role.value}{n}",
        source=f"{role.value} source {n}",
        language=language,
        seconds=seconds,
        width=512,
        height=512,
        has_sound=sound,
        windows={Role.PORTRAIT: whole, Role.SPEECH: (), Role.REAL: parts}[role],
        traits=tuple(traits.items()),
    )


def stock(portraits: int = 12, speech: int = 9, reals: int = 15) -> list[Material]:
    kinds = ((Role.PORTRAIT, portraits), (Role.SPEECH, speech), (Role.REAL, reals))
    return [material(role, n) for role, many in kinds for n in range(many)]
