"""Options that several commands of the generator share, and what their words mean."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fractions import Fraction

    from forge.portrait import Declaration


class Size(StrEnum):
    """Pixels a side."""

    SMALL = "256"
    LARGE = "512"


class Pacing(StrEnum):
    """When live sound is handed on: `live_sound.Pace`, for a help that loads nothing heavy."""

    REALTIME = "realtime"
    MAX = "max"


Nonexistent = Annotated[
    bool, typer.Option("--nonexistent", help="The picture shows nobody: generated, painted, drawn, rendered.")
]
Consent = Annotated[
    str | None, typer.Option("--consent", help='Who agreed, when, to what: "Ada Example agreed on 2026-03-01 to ..."')
]
License = Annotated[str | None, typer.Option("--license", help="License of the picture, recorded in the credential.")]
FrameRate = Annotated[str, typer.Option("--fps", help="Frames a second: 25, 29.97, 30000/1001.")]
Steps = Annotated[
    int | None, typer.Option(help="Steps of the motion network's sampler; more is finer and slower.", min=1, max=250)
]
Guidance = Annotated[
    str | None,
    typer.Option(help='How hard conditions push the motion network: "audio=0.5,gaze=1" (its default), or "none".'),
]
Gaze = Annotated[str | None, typer.Option(help="Where the eyes rest: yaw,pitch in degrees, such as 10,-5.")]
Distance = Annotated[float, typer.Option(help="1 = as in the picture, 2 = twice as far.")]
Emotion = Annotated[str | None, typer.Option(help="name or name:strength, such as happy:0.6.")]
HeadMotion = Annotated[float, typer.Option(help="Scale of head sway; 0 keeps the head still.")]
FrozenPose = Annotated[
    bool, typer.Option("--frozen-pose", help="Keep the head exactly as in the picture; eyes, lids and mouth live on.")
]
LipGain = Annotated[float, typer.Option(help="Scale of mouth opening.")]
Seed = Annotated[
    int | None,
    typer.Option(
        help="Of blinks, gaze and sway; by default from the two files' digests (live from a pipe: by chance)."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace OUT when it exists.")]


def declaration_of(nonexistent: bool, consent: str | None, license: str | None) -> Declaration | None:
    """The declaration that was typed; None when nothing was said.

    Raises:
        ForgeError: when both were said.
    """
    from forge.portrait import Declaration, ForgeError

    if nonexistent and consent is not None:
        raise ForgeError("say either --nonexistent or --consent: a picture of nobody cannot agree")
    words = license or "unstated"
    if consent is not None:
        return Declaration.consent(consent, words)
    return Declaration.nonexistent(words) if nonexistent else None


def rate_of(text: str) -> Fraction:
    """An exact frame rate from 25, 29.97 or 30000/1001.

    Raises:
        ForgeError: for anything else.
    """
    import re
    from fractions import Fraction

    from forge.portrait import ForgeError
    from media.timing import nearest_standard_rate

    if not re.fullmatch(r"\d{1,6}(\.\d{1,6}|/\d{1,6})?", text.strip()) or text.strip().endswith("/0"):
        raise ForgeError(f"fps must be a number such as 25, 29.97 or 30000/1001, got {text[:40]!r}")
    rate = Fraction(text.strip())
    return rate if "/" in text or rate == 0 else nearest_standard_rate(rate)
