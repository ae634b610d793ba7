"""A folder of footage: what `countermark forge studio` does.

    report = shoot_people(Path("out"), Order(people=300, frames_per_person=16), workers=2)

Rules:
1. A take is done when its file stands under its name; a killed run goes on where it stopped.
2. The same folder is only continued with the same order; `people` may grow.
3. The order and the studio's version decide every pixel (on one kind of machine); workers do not.
4. `studio.json` says what the folder is, under which licence, and how it was made.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forge.filming import write_whole
from forge.motion.features import GAZE_NAMES, INDEX, NAMES
from forge.portrait import ForgeError
from forge.studio.footage import LABEL, LICENCE, Footage, save_footage
from forge.studio.head import FRAME_CENTIMETRES, OUTER_EYE_CENTIMETRES
from forge.studio.studio import HELD_OUT, RECIPE, People, Studio
from media.crew import run_tasks
from media.places import Room
from provenance.record import Record

FACTS, PROGRESS = "studio.json", "PROGRESS"
SUFFIX = ".footage"


@dataclass(frozen=True)
class Order:
    """What is to be filmed."""

    people: int
    frames_per_person: int
    size: int = 256
    seed: int = 0
    """Person n has the seed `seed + n`, or that above 1,000,000 for held-out people; other seeds are other people."""
    kind: People = "rendered"
    photo_folder: str | None = None
    """Of saved photo people, for the kinds `photo` and `mix`."""
    held_out: bool = False
    measured: bool = True
    """Also store what the landmarker reads off every frame."""

    def __post_init__(self) -> None:
        """Refuse an empty order and one that would mix held-out people with others."""
        if self.people < 1 or self.frames_per_person < 1:
            raise ForgeError(f"people and frames must be at least 1, got {self.people} and {self.frames_per_person}")
        if not 0 <= self.seed < HELD_OUT - self.people:
            raise ForgeError(f"seed must be 0 to {HELD_OUT - self.people - 1}, got {self.seed}")
        if not 32 <= self.size <= 1024:
            raise ForgeError(f"size must be 32 to 1024 pixels, got {self.size}")
        if self.kind not in ("rendered", "photo", "mix"):
            raise ForgeError(f"people must be rendered, photo or mix, got {self.kind!r}")

    def seeds(self) -> list[int]:
        """The people, in order."""
        first = self.seed + (HELD_OUT if self.held_out else 0)
        return list(range(first, first + self.people))


@dataclass(frozen=True)
class ShootReport:
    """What a run did."""

    folder: Path
    made: int
    kept: int
    failed: dict[int, str]
    """Person seed -> one line."""
    seconds: float


@dataclass(frozen=True)
class Progress:
    """How far a run is; for a progress bar."""

    done: int
    planned: int


def take_path(folder: Path, person_seed: int) -> Path:
    """Where the take of a person lies."""
    return folder / f"take_{person_seed:07d}{SUFFIX}"


def shoot_people(
    folder: Path, order: Order, *, workers: int = 1, on_progress: Callable[[Progress], None] | None = None
) -> ShootReport:
    """Film every person of an order that is not there yet.

    Args:
        folder: made if need be.
        order: what to film.
        workers: processes.
        on_progress: told after every take.

    Raises:
        ForgeError: when the folder holds something else or footage of another order.
    """
    begun = time.monotonic()
    begin_or_continue(folder, order)
    missing = [seed for seed in order.seeds() if not take_path(folder, seed).exists()]
    kept, made, failed = order.people - len(missing), 0, dict[int, str]()
    start = partial(start_shooting, folder, order)
    for outcome in run_tasks(missing, start, workers=min(workers, max(len(missing), 1))):
        if outcome.error is None:
            made += 1
        else:
            failed[outcome.task] = outcome.error
        done = kept + made + len(failed)
        write_whole(folder / PROGRESS, f"{done} of {order.people} people, {len(failed)} failed\n")
        if on_progress is not None:
            on_progress(Progress(done, order.people))
    return ShootReport(folder, made, kept, failed, time.monotonic() - begun)


def begin_or_continue(folder: Path, order: Order) -> None:
    """Write the facts of a new folder, or check those of an old one."""
    path = folder / FACTS
    wanted = asdict(order)
    if path.is_file():
        try:
            before = json.loads(path.read_text())["order"]
        except (ValueError, KeyError) as error:
            raise ForgeError(f"{path}: is damaged ({error}); choose another folder") from error
        different = [name for name in wanted if name != "people" and before.get(name) != wanted[name]]
        if different:
            raise ForgeError(f"{folder}: was made with another {', '.join(different)}; choose another folder")
    elif folder.is_dir() and any(p.name != PROGRESS for p in folder.iterdir()):
        raise ForgeError(f"{folder}: is not empty and no footage; choose a new or an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    record = Record(tool="countermark forge studio", recipe=RECIPE, seed=order.seed, label=LABEL, controls=wanted)
    facts = {"licence": LICENCE, "label": LABEL, "order": wanted, "record": record.to_json()}
    facts["about"] = "Rendered heads with exact truth; nobody is shown. Read with forge.studio.footage.load_footage."
    write_whole(path, json.dumps(facts, indent=1) + "\n")


def start_shooting(folder: Path, order: Order, room: Room) -> Callable[[int], None]:
    """What a worker process loads once; returns the function that films one person."""
    torch.set_num_threads(1)
    studio = Studio(order.size, "cpu", order.seed, order.kind, photo_folder=order.photo_folder)
    finder: Any = None
    if order.measured:
        from media.faces import FaceFinder

        finder = FaceFinder(max_faces=1, small_faces=False)

    def shoot(person_seed: int) -> None:
        footage = studio.shoot(person_seed, order.frames_per_person, rng_seed=order.seed)
        if finder is not None:
            footage = with_measured(footage, finder)
        save_footage(take_path(folder, person_seed), footage)

    return shoot


def with_measured(footage: Footage, finder: Any) -> Footage:
    """The footage with what the landmarker reads off its frames."""
    from dataclasses import replace

    rows = [measure(image, finder) for image in footage.image_F3HW.permute(0, 2, 3, 1).cpu().numpy()]
    return replace(footage, measured_FM=torch.from_numpy(np.stack(rows)))


def measure(image: NDArray[np.uint8], finder: Any) -> NDArray[np.float32]:
    """Motion of one frame in the landmarker's units, its pose absolute as the studio's truth; NaN without a face.

    Args:
        image: (S, S, 3) RGB.
        finder: a `media.faces.FaceFinder`.
    """
    from forge.face.student_motion import MEASURED, gaze_read, place_of, turn_angles

    size = len(image)
    values = np.zeros(len(NAMES), np.float32)
    faces = finder.find(np.ascontiguousarray(image))
    if not faces:
        return np.full(len(NAMES), np.nan, np.float32)
    face = faces[0]
    place = place_of(face.landmarks)
    standard = size * OUTER_EYE_CENTIMETRES / FRAME_CENTIMETRES
    values[:3] = turn_angles(place.turn)
    values[3:5] = (place.pivot[:2] - size / 2) / place.scale
    values[5] = np.log(place.scale / standard)
    values[MEASURED] = face.blendshapes
    for name, gaze in zip(GAZE_NAMES, gaze_read(face.blendshapes), strict=True):
        values[INDEX[name]] = gaze
    return values


@contextmanager
def progress_bar(text: str) -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(text, total=None)
        yield lambda progress: bar.update(task, completed=progress.done, total=progress.planned)


def film_studio(
    out: Path,
    people: int = 20,
    frames_per_person: int = 16,
    size: int = 256,
    seed: int = 0,
    workers: int = max(1, (os.cpu_count() or 2) // 2),
    held_out: bool = False,
    kind: str = "rendered",
    photo_folder: Path | None = None,
    measured: bool = True,
) -> ShootReport:
    """The body of the verb `countermark forge studio`; see `shoot_people`."""
    folder = None if photo_folder is None else str(photo_folder)
    order = Order(people, frames_per_person, size, seed, cast(People, kind), folder, held_out, measured)
    with progress_bar("people") as tell:
        return shoot_people(out, order, workers=workers, on_progress=tell)


def frames_of(folder: Path) -> list[Path]:
    """The takes of a folder, in the order of their people."""
    return sorted(folder.glob(f"take_*{SUFFIX}"))


def stack_measured(footages: list[Footage]) -> tuple[Tensor, Tensor]:
    """(N, 70) truth and (N, 70) measured motion of all frames on which the landmarker found a face."""
    pairs = [(f.motion_FM, f.measured_FM) for f in footages if f.measured_FM is not None]
    truth, seen = torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])
    found = seen.isfinite().all(1)
    return truth[found], seen[found]
