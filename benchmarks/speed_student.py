"""How fast the CPU student draws: torch beside ONNX Runtime and OpenVINO, the network alone and the whole frame.

    rows = student_rows(sizes=(256, 512), frames=50)

The whole frame is what `forge animate` does for each: geometry, network, composition, 8-bit RGB; without motion and
encoding. Figures by the clock are of this machine as it was; those by processor time ("a core") hold on a busy one.
"""

from __future__ import annotations

import copy
import importlib
import time
from collections.abc import Sequence
from fractions import Fraction
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from forge.face.method import StudentFace, planes, shrunk
from forge.face.student import Student
from forge.face.student_engine import Engine, OnnxEngine, OpenVinoEngine, TorchEngine
from forge.face.student_files import load_student
from forge.motion.features import Motion
from forge.portrait import ForgeError
from media.faces import FaceFinder
from media.video import read_image

Row = dict[str, object]


def lively(frames: int) -> Motion:
    """A motion in which head, jaw, lids and gaze all move, so that nothing is skipped."""
    t = np.arange(frames) / 25
    wave = np.sin(2 * np.pi * t)
    return Motion.neutral(frames, Fraction(25)).replace(
        yaw=8 * wave, pitch=4 * np.cos(3 * t), roll=2 * wave, jawOpen=0.25 + 0.25 * np.sin(20 * t),
        mouthSmileLeft=0.3, mouthSmileRight=0.3, eyeBlinkLeft=np.maximum(0, np.sin(4 * t) - 0.5),
        eyeBlinkRight=np.maximum(0, np.sin(4 * t) - 0.5), gaze_yaw=0.3 * wave,
    )  # fmt: skip


def the_student() -> tuple[Student, str]:
    """The student that ships, or one with random weights: speed does not depend on them."""
    try:
        return load_student()[0], "shipped weights"
    except ForgeError:
        return Student().eval(), "random weights"


def engines(student: Student, folder: Path, threads: int) -> dict[str, Engine | str]:
    """Every engine, or why it is not there."""
    # a copy: exporting lays the weights out anew
    found: dict[str, Engine | str] = {"torch": TorchEngine(copy.deepcopy(student))}
    try:
        importlib.import_module("forge.face.export").export_student(student, folder)
    except (ImportError, AttributeError, ForgeError) as error:
        return found | {name: f"not exported: {error}" for name in ("onnxruntime", "openvino")}
    for name, make in (("onnxruntime", OnnxEngine), ("openvino", OpenVinoEngine)):
        try:
            found[name] = make(folder, threads)
        except ForgeError as error:
            found[name] = str(error)
    return found


def timed(work: object, least: float) -> tuple[float, float]:
    """Clock and processor seconds of one call, over at least so much time."""
    assert callable(work)
    work()
    count, clock, processor = 0, time.perf_counter(), time.process_time()
    while count < 2 or time.perf_counter() - clock < least:
        work()
        count += 1
    return (time.perf_counter() - clock) / count, (time.process_time() - processor) / count


def student_rows(
    sizes: Sequence[int] = (256, 512), *, frames: int = 25, least: float = 1.0, threads: int = 0
) -> list[Row]:
    """One row an engine and size.

    Args:
        sizes: of the drawn frames; the network always works at 256.
        frames: of the motion that is drawn.
        least: seconds that each figure is measured over.
        threads: of ONNX Runtime and OpenVINO; 0 leaves it to them. Torch takes its own setting.
    """
    student, kind = the_student()
    with as_file(files("countermark") / "demo_assets" / "ada.webp") as path:
        portrait = read_image(path)
    with FaceFinder(max_faces=1) as finder:
        face = finder.find(portrait)[0]
    motion, rows = lively(frames), list[Row]()
    with TemporaryDirectory() as folder:
        base: dict[int, float] = {}
        for name, engine in engines(student, Path(folder), threads).items():
            if isinstance(engine, str):
                rows.append({"engine": name, "reason": engine})
                continue
            for size in sizes:
                fitted = StudentFace.fit(portrait, size, face=face, engine=engine)
                guess = fitted.prior.guess(motion.values[0].astype(np.float64))
                inputs = {
                    "drawn": planes(shrunk(guess.drawn)), "worn": planes(shrunk(guess.worn)), "source": fitted.source,
                    "flow": np.ascontiguousarray(guess.flow.transpose(2, 0, 1)[None]), "maps": planes(guess.maps),
                    "own": fitted.own, "told": guess.told[None],
                }  # fmt: skip
                _, network = timed(lambda f=fitted, i=inputs: f.engine.mend(f.kept, i), least / 2)
                _, geometry = timed(lambda f=fitted: f.prior.guess(motion.values[0].astype(np.float64)), least / 2)
                whole, core = timed(lambda f=fitted: sum(1 for _ in f.render(motion)), least)
                base.setdefault(size, network)
                rows.append(
                    {"engine": name, "size": size, "network, core ms": 1000 * network,
                     "geometry, core ms": 1000 * geometry,
                     "whole, fps by the clock": frames / whole, "whole, fps a core": frames / core,
                     "network's processor time over torch's": network / base[size], "weights": kind}
                )  # fmt: skip
    return rows
