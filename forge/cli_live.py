"""The command `forge live`: a portrait that speaks while the sound comes in, and how well it kept time.

Mounted by `forge.cli`, whose rules it keeps.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forge.cli_options import (
    Consent,
    Distance,
    Emotion,
    FrameRate,
    FrozenPose,
    Gaze,
    Guidance,
    HeadMotion,
    License,
    LipGain,
    Nonexistent,
    Overwrite,
    Pacing,
    Seed,
    Size,
    Steps,
    declaration_of,
    rate_of,
)
from forge.motion.controls import DIFFUSION
from forge.terminal import one_line_errors, plain, print_facts

if TYPE_CHECKING:
    from typing import BinaryIO

    from forge.live_clip import LiveMade, LiveSetting

PIPE = "-"


def live(
    portrait: Annotated[Path, typer.Argument(help="A picture with one face: png, jpeg, webp.", show_default=False)],
    speech: Annotated[
        str, typer.Argument(help="A sound file, or - for wav or raw samples on stdin.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Keep what was shown as a signed mp4.", show_default=False)
    ] = None,
    nonexistent: Nonexistent = False,
    consent: Consent = None,
    license: License = None,
    method: Annotated[str, typer.Option(help="How the face is drawn: mesh or vasa.")] = "mesh",
    motion: Annotated[str, typer.Option(help="What moves it: diffusion, or a .safetensors file.")] = DIFFUSION,
    steps: Steps = None,
    guidance: Guidance = None,
    size: Annotated[Size, typer.Option(help="Pixels a side.")] = Size.SMALL,
    fps: FrameRate = "25",
    pace: Annotated[Pacing, typer.Option(help="realtime: as it would be spoken; max: as fast as it goes.")] = (
        Pacing.REALTIME
    ),
    rate: Annotated[
        int | None, typer.Option(help="Of raw signed 16-bit samples, one channel, on stdin; none for wav.")
    ] = None,
    chunk: Annotated[float, typer.Option(help="Milliseconds of sound that arrive at a time.")] = 10.0,
    buffer: Annotated[float, typer.Option(help="Milliseconds that a picture may take before it is late.")] = 40.0,
    seconds: Annotated[
        float | None, typer.Option(help="Stop listening after so long; a clip from stdin ends after 1800.")
    ] = None,
    gaze: Gaze = None,
    distance: Distance = 1.0,
    emotion: Emotion = None,
    head_motion: HeadMotion = 1.0,
    blink_rate: Annotated[float, typer.Option(help="Scale of the number of blinks.")] = 1.0,
    frozen_pose: FrozenPose = False,
    lip_gain: LipGain = 1.0,
    seed: Seed = None,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON on stdout, no words on stderr.")] = False,
) -> None:
    """Let a PORTRAIT say the SPEECH while it arrives, and report how long its pictures took.

    Sound is heard in small pieces at the pace of a microphone. Latency runs from the first sound that a picture shows
    to the finished picture; a player holds the sound back by sound_delay_ms, so that it agrees with the lips.
    """
    with one_line_errors() as console:
        from forge.live_clip import speak_live
        from forge.methods import Shot
        from forge.motion.controls import Controls
        from forge.motion.sources import MotionSource

        declaration = declaration_of(nonexistent, consent, license)
        wishes: dict[str, Any] = {"gaze": gaze, "distance": distance, "emotion": emotion, "head_motion": head_motion}
        wishes |= {"blink_rate": blink_rate}
        controls = Controls.parse(**wishes, frozen_pose=frozen_pose, lip_gain=lip_gain, seed=seed or 0)
        source = MotionSource.parse(motion, steps=steps, guidance=guidance)
        made = speak_live(
            portrait,
            _pipe() if speech == PIPE else Path(speech),
            declaration=declaration,
            out=out,
            method=method,
            shot=Shot(int(size.value), rate_of(fps), controls, source),
            setting=_setting(pace, rate, chunk, buffer, seconds),
            own_seed=seed is None,
            overwrite=overwrite,
            notify=None if as_json else console.print,
        )
        if not as_json:
            for line in lines_of(made):
                console.print(plain(line))
        print_facts(made.to_json())


def lines_of(made: LiveMade) -> list[str]:
    """The report in words."""
    told = made.report
    lines = [f"{told.frames} frames for {told.seconds:.2f} s of sound, {told.kept_fps:g} drawn a second of {told.fps}"]
    if told.latency_ms is not None:
        lines.append(f"latency {_spread(told.latency_ms)} ms, late {told.late}, repeated {told.repeated}")
    lines.append(f"making one picture: motion {_spread(told.motion_ms)} ms, drawing {_spread(told.drawing_ms)} ms")
    lines.append(
        f"must be heard before: {told.algorithmic_delay_ms:g} ms; hold the sound back by {told.sound_delay_ms:g} ms"
    )
    lines.append("keeps time" if told.keeps_time else "does not keep time on this machine, now")
    if made.file:
        lines.append(f"made {made.file}, {made.declaration}, signed")
    return lines


def _spread(milliseconds: dict[str, float]) -> str:
    return " ".join(f"{name} {value:g}" for name, value in milliseconds.items())


def _setting(pace: Pacing, rate: int | None, chunk: float, buffer: float, seconds: float | None) -> LiveSetting:
    from fractions import Fraction
    from math import isfinite

    from forge.live_clip import LiveSetting
    from forge.live_sound import Pace
    from forge.portrait import ForgeError

    for name, value in (("chunk", chunk), ("buffer", buffer), ("seconds", seconds)):
        if value is not None and not isfinite(value):
            raise ForgeError(f"{name} must be a number, got {value}")
    return LiveSetting(
        pace=Pace(pace.value),
        chunk_seconds=Fraction(chunk).limit_denominator(10**6) / 1000,
        buffer_seconds=buffer / 1000,
        raw_rate_hz=rate,
        seconds=None if seconds is None else Fraction(seconds).limit_denominator(10**6),
    )


def _pipe() -> BinaryIO:
    """Standard input without a buffer of its own."""
    import sys

    from forge.portrait import ForgeError

    if sys.stdin.isatty():
        raise ForgeError("stdin is a terminal; pipe sound into the command, or name a file")
    stream: BinaryIO = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
    return stream
