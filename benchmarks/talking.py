"""How a talking face moves: lip opening, its bond with the voice, head turns, blinks, gaze. Pure functions over tracks.

    python -m benchmarks.talking CLIP.mp4 ...           # a table, the mean last
    python -m benchmarks.talking CLIPS/*.mp4 --json     # one JSON object a line, the mean last

Everything is measured at 25 frames a second on the most visible face. For reference, by the same tracker: real talking
people have a lip aperture deviation of .051, a correlation with the voice of .26, head turns of .28 degrees a frame and
27 blinks a minute; VASA-1's published clips .065, .24, .32, 41. A jaw that simply follows loudness scores a higher
correlation and looks wrong.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from math import isnan, nan
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from media.clip import MediaError, Waveform
from media.faces import (
    BLENDSHAPE_INDEX,
    FaceFinder,
    FaceTrack,
    head_angles,
    lip_aperture,
    load_tracks,
    track_faces,
)
from media.video import probe, read_waveform, stream_frames

Curve = NDArray[np.float64]
FPS = Fraction(25)
MAX_LAG_FRAMES = 8


@dataclass(frozen=True)
class Talking:
    """Statistics of one talking face; NaN where there is nothing to measure."""

    clip: str
    frames: int
    """Frames in which the face was seen."""
    seconds: float
    lip_deviation: float
    """Standard deviation of the lip aperture over the outer-eye distance."""
    voice_correlation: float
    """Correlation of the lip aperture with the speech envelope at the best lag."""
    voice_lag_frames: float
    """That lag: positive when the lips come after the sound."""
    head_turn_degrees: float
    """Mean change of yaw, pitch and roll from frame to frame, after a moving average over 5 frames: single frames
    are measured independently, and their jitter is as large as the motion of a calm head."""
    head_turn_raw_degrees: float
    """Mean angle of the whole rotation from one frame to the next as measured, jitter included."""
    blinks_per_minute: float
    gaze_deviation: float
    """Standard deviation of the gaze, both directions together, in blendshape units."""


def lip_curve(track: FaceTrack) -> Curve:
    """(N,) lip aperture over the outer-eye distance."""
    return np.array([lip_aperture(points) for points in track.landmarks], np.float64)


def speech_envelope(sound: Waveform, length: int, fps: Fraction = FPS) -> Curve:
    """(T,) root mean square of the mono sound around each frame's middle, over two frames' time."""
    samples = sound.mono().samples[:, 0].astype(np.float64) ** 2
    total = np.concatenate([[0.0], np.cumsum(samples)])
    per_frame = Fraction(sound.sample_rate_hz) / fps
    middle = [(i + Fraction(1, 2)) * per_frame for i in range(length)]
    low = np.clip([round(m - per_frame) for m in middle], 0, len(samples))
    high = np.clip([round(m + per_frame) for m in middle], 0, len(samples))
    return np.asarray(np.sqrt((total[high] - total[low]) / np.maximum(high - low, 1)), np.float64)


def best_lag(curve: Curve, envelope: Curve, max_lag: int = MAX_LAG_FRAMES) -> tuple[float, int]:
    """The highest correlation of two (T,) curves over shifts, and the shift: positive when the first comes later.

    Frames where the first is NaN are left out; (nan, 0) when fewer than 10 frames or no variation is left.
    """
    best, at = nan, 0
    for lag in sorted(range(-max_lag, max_lag + 1), key=abs):
        a = curve[max(0, lag) : len(curve) + min(0, lag)]
        b = envelope[max(0, -lag) : len(envelope) - max(0, lag)]
        value = correlation(a, b)
        if not isnan(value) and (isnan(best) or value > best):
            best, at = value, lag
    return best, at


def correlation(a: Curve, b: Curve) -> float:
    """Pearson correlation over frames where both are finite; NaN for fewer than 10 of them or without variation."""
    good = np.isfinite(a) & np.isfinite(b)
    if good.sum() < 10:
        return nan
    x, y = a[good] - a[good].mean(), b[good] - b[good].mean()
    power = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum()) / power if power > 1e-12 else nan


def head_turn(poses: NDArray[np.float32], frame_indices: NDArray[np.int32], window: int = 5) -> float:
    """Mean absolute change in degrees a frame of yaw, pitch and roll, all three averaged, after a moving average.

    Args:
        poses: (N, 4, 4).
        frame_indices: (N,); nothing is averaged or compared across a gap.
        window: frames of the moving average.
    """
    angles = np.array([head_angles(pose) for pose in poses], np.float64)
    changes = []
    for run in np.split(angles, np.flatnonzero(np.diff(frame_indices) != 1) + 1):
        if len(run) > window:
            total = np.cumsum(np.unwrap(run, axis=0, period=360), axis=0)
            smooth = (total[window:] - total[:-window]) / window
            changes.append(np.abs(np.diff(smooth, axis=0)).mean(axis=1))
    every = np.concatenate(changes) if changes else np.empty(0)
    return float(every.mean()) if len(every) else nan


def turn_angles(poses: NDArray[np.float32], frame_indices: NDArray[np.int32]) -> Curve:
    """Degrees by which the head turned between each two neighbouring frames; pairs across a gap are left out."""
    turns = np.asarray(poses, np.float64)[:, :3, :3]
    relative = np.einsum("nij,nik->njk", turns[:-1], turns[1:])
    # by the antisymmetric part: exact for the small angles between frames, where arccos of the trace is not
    sine = np.stack(
        [
            relative[:, 2, 1] - relative[:, 1, 2],
            relative[:, 0, 2] - relative[:, 2, 0],
            relative[:, 1, 0] - relative[:, 0, 1],
        ]
    )
    cosine = np.trace(relative, axis1=1, axis2=2) - 1
    angles = np.degrees(np.arctan2(np.linalg.norm(sine, axis=0), cosine))
    return np.asarray(angles[np.diff(frame_indices) == 1], np.float64)


def count_blinks(closure: Curve, *, close: float = 0.4, reopen: float = 0.3, max_frames: int = 15) -> int:
    """Closings of the eye: rises to `close` that fall to `reopen` within `max_frames`; longer ones are sleep.

    Args:
        closure: (N,) eye closure, 0 open, 1 shut.
        close: from which the eye counts as closed.
        reopen: up to which it counts as open again; between the two nothing changes.
        max_frames: longest blink.
    """
    blinks, since = 0, -1
    for i, value in enumerate(closure):
        if since < 0 and value >= close:
            since = i
        elif since >= 0 and value <= reopen:
            blinks += i - since <= max_frames
            since = -1
    return blinks


def eye_closure(track: FaceTrack) -> Curve:
    """(N,) mean of both eyes' blink coefficients."""
    columns = [BLENDSHAPE_INDEX["eyeBlinkLeft"], BLENDSHAPE_INDEX["eyeBlinkRight"]]
    return np.asarray(track.blendshapes[:, columns].mean(axis=1), np.float64)


def gaze_curve(track: FaceTrack) -> Curve:
    """(N, 2) gaze towards the person's left and up, in blendshape units."""

    def shape(name: str) -> Curve:
        return np.asarray(track.blendshapes[:, BLENDSHAPE_INDEX[name]], np.float64)

    aside = shape("eyeLookOutLeft") - shape("eyeLookInLeft") + shape("eyeLookInRight") - shape("eyeLookOutRight")
    up = shape("eyeLookUpLeft") + shape("eyeLookUpRight") - shape("eyeLookDownLeft") - shape("eyeLookDownRight")
    return np.stack([aside / 2, up / 2], axis=1)


def measure_talking(clip: str, track: FaceTrack, sound: Waveform | None, fps: Fraction = FPS) -> Talking:
    """All statistics of one track at a frame rate; without sound the bond with the voice is NaN."""
    aperture = lip_curve(track)
    correlated, lag = nan, nan
    if sound is not None:
        whole = np.full(int(track.frame_indices[-1]) + 1, np.nan)
        whole[track.frame_indices] = aperture
        correlated, found = best_lag(whole, speech_envelope(sound, len(whole), fps))
        lag = nan if isnan(correlated) else float(found)
    angles = turn_angles(track.poses, track.frame_indices)
    gaze = gaze_curve(track)
    seconds = float(track.length / fps)
    return Talking(
        clip=clip,
        frames=track.length,
        seconds=seconds,
        lip_deviation=float(aperture.std()),
        voice_correlation=correlated,
        voice_lag_frames=lag,
        head_turn_degrees=head_turn(track.poses, track.frame_indices),
        head_turn_raw_degrees=float(angles.mean()) if len(angles) else nan,
        blinks_per_minute=count_blinks(eye_closure(track)) / seconds * 60,
        gaze_deviation=float(np.sqrt(gaze.var(axis=0).sum())),
    )


def mean_talking(all_facts: Sequence[Talking]) -> Talking:
    """The mean over clips, each number over the clips that have it; frames and seconds are sums.

    Raises:
        ValueError: for no clips.
    """
    if not all_facts:
        raise ValueError("a mean needs at least one clip, got none")

    def mean(name: str) -> float:
        values = [float(getattr(facts, name)) for facts in all_facts]
        known = [value for value in values if not isnan(value)]
        return float(np.mean(known)) if known else nan

    names = [f.name for f in fields(Talking) if f.name not in ("clip", "frames", "seconds")]
    frames, seconds = sum(f.frames for f in all_facts), sum(f.seconds for f in all_facts)
    return Talking(f"mean of {len(all_facts)}", frames, seconds, **{name: mean(name) for name in names})


def talking_of_file(path: Path, finder: FaceFinder | None = None, tracks: Path | None = None) -> Talking | None:
    """Statistics of the most visible face of a file, or None when no face is found.

    Args:
        path: video file.
        finder: a loaded finder, to save loading it for every file.
        tracks: a file of `save_tracks`, made at 25 frames a second, to use in place of tracking.

    Raises:
        MediaError: when a file cannot be read.
    """
    found = load_tracks(tracks) if tracks else track_faces(stream_frames(path, fps=FPS), finder=finder, max_faces=2)
    if not found:
        return None
    sound = read_waveform(path) if probe(path).has_sound else None
    return measure_talking(path.name, found[0], sound)


def as_json(facts: Talking) -> str:
    """One line of JSON; NaN becomes null."""
    return json.dumps(
        {key: None if isinstance(value, float) and isnan(value) else value for key, value in asdict(facts).items()}
    )


def as_table(all_facts: Sequence[Talking]) -> Table:
    """A table for people, one row a clip."""
    table = Table("clip", "seconds", "lip sd", "voice r", "lag", "turn °/frame", "blinks/min", "gaze sd")
    for facts in all_facts:
        numbers = (
            f"{facts.seconds:.1f}",
            f"{facts.lip_deviation:.3f}",
            f"{facts.voice_correlation:.2f}",
            f"{facts.voice_lag_frames:.1f}",
            f"{facts.head_turn_degrees:.2f}",
            f"{facts.blinks_per_minute:.0f}",
            f"{facts.gaze_deviation:.3f}",
        )
        table.add_row(facts.clip, *("-" if number == "nan" else number for number in numbers))
    return table


def main(
    paths: Annotated[list[Path], typer.Argument(help="Video files.")],
    as_lines: Annotated[bool, typer.Option("--json", help="One JSON object a line, the mean last.")] = False,
    tracks: Annotated[Path | None, typer.Option(help="Folder of NAME.npz face tracks to use where they exist.")] = None,
) -> None:
    """Talking statistics of clips: lips, voice, head, blinks, gaze."""
    talk = Console(stderr=True)
    all_facts: list[Talking] = []
    try:
        with FaceFinder() as finder:
            for path in paths:
                known = tracks / f"{path.stem}.npz" if tracks else None
                facts = talking_of_file(path, finder, known if known and known.is_file() else None)
                if facts is None:
                    talk.print(f"{path}: no face found, left out", highlight=False, soft_wrap=True, markup=False)
                    continue
                all_facts.append(facts)
                if as_lines:
                    typer.echo(as_json(facts))
    except MediaError as error:
        talk.print(str(error), highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(1) from error
    if not all_facts:
        talk.print("no face in any of the files; pass clips that show a face", highlight=False)
        raise typer.Exit(1)
    if as_lines:
        typer.echo(as_json(mean_talking(all_facts)))
    else:
        Console().print(as_table([*all_facts, mean_talking(all_facts)]))


if __name__ == "__main__":
    typer.run(main)
