"""How fast things are: `python -m benchmarks.speed mesh` writes `results/speed_mesh.json`; `face` and `detect` alike.

Frames a second are given twice: by processor time of one core (steady on a busy machine) and by the clock.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from benchmarks.tables import RESULTS, Result, Table
from forge.animate import animate_to_file
from forge.mesh.face import MeshFace
from forge.methods import Shot
from forge.motion.controls import Controls
from forge.motion.speech import motion_from_speech
from forge.portrait import Declaration
from media.video import read_image, read_waveform


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Processor seconds of this process and clock seconds of one call."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - processor, time.perf_counter() - clock


def exhaust(items: Iterable[object]) -> int:
    """Go through an iterator and count."""
    return sum(1 for _ in items)


def mesh_row(portrait: Path, speech: Path, size: int) -> dict[str, object]:
    """Fit, motion, render and the whole of `forge animate` for one portrait."""
    picture, sound = read_image(portrait), read_waveform(speech)
    picture = np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
    fit_seconds, _ = timed(lambda: MeshFace.fit(picture, size))
    face = MeshFace.fit(picture, size)
    motion_seconds, _ = timed(lambda: motion_from_speech(sound, Fraction(25), Controls()))
    motion = motion_from_speech(sound, Fraction(25), Controls())
    render_seconds, render_clock = timed(lambda: exhaust(face.render(motion)))
    with TemporaryDirectory() as folder:
        out = Path(folder) / "clip.mp4"
        whole_seconds, whole_clock = timed(
            lambda: animate_to_file(
                portrait, speech, out, declaration=Declaration.nonexistent(), shot=Shot(size=size, controls=Controls())
            )
        )
    frames = motion.length
    return {
        "portrait": portrait.stem,
        "size": size,
        "frames": frames,
        "fit, core s": fit_seconds,
        "motion, core s": motion_seconds,
        "render, fps a core": frames / render_seconds,
        "render, fps by the clock": frames / render_clock,
        "with encode and sign, fps a core": frames / whole_seconds,
        "with encode and sign, fps by the clock": frames / whole_clock,
    }


def main(argv: list[str] | None = None) -> int:
    """Measure and save; `face` and `detect` as the first word: `benchmarks.speed_face`, `benchmarks.speed_detect`."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["face"]:
        from benchmarks.speed_face import main as time_faces

        return time_faces(words[1:])
    if words[:1] == ["detect"]:
        from benchmarks.speed_detect import main as time_detector

        return time_detector(words[1:])
    parser = argparse.ArgumentParser(description="Speed of the generator on this machine.")
    parser.add_argument("what", choices=["mesh"])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args(words)
    cv2.setNumThreads(1)
    with as_file(files("countermark") / "demo_assets") as assets:
        rows = [
            mesh_row(assets / f"{name}.webp", assets / "before_you_believe.flac", size)
            for size in (256, 512)
            for name in ("ada", "bo")
        ]
    notes = ("The embedded portraits and one utterance of 4.1 s at 25 frames a second; one OpenCV thread.",)
    Result("speed_mesh", "python -m benchmarks.speed mesh", (Table("method mesh", tuple(rows)),), notes).save(
        options.out
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
