"""One run of the dataset factory: what is done, what failed, what did not pass, and the loop that makes the rest.

run = Run.of(request, plan, watch, notify)
run.film()
run.done, run.failures, run.rejects
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from forge.design import REAL
from forge.doubles import doubles_among
from forge.filming import Made, StartFilming, deliver
from forge.makers import Makers
from forge.manipulations.scene import ManipulationKind
from forge.methods import Method, method_named
from forge.plan import Plan, PlannedClip
from forge.portrait import Declaration, ForgeError
from forge.progress import Failures, Progress
from forge.quality import Gate
from forge.recipes import DatasetRecipe
from forge.shelf import Done, Rejects, kept, prints_of, save_catalog, take_back
from media.clip import MediaError
from media.places import Here, Place

CATALOG_EVERY_SECONDS = 15.0
"""How often the catalog is written while clips are being made."""
MOST_ATTEMPTS = 4
"""How often a clip is made before its number stays empty."""
NO_SPACE = "No space left on device"

Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Request:
    """What a dataset is to be made of."""

    recipe: DatasetRecipe
    folder: Path
    portraits: Path
    speech: Path
    real: Path | None = None
    everyone: Declaration | None = None
    """For every portrait that has no declaration of its own."""
    limit: int | None = None
    """Numbers that are planned; None takes the recipe's."""
    place: Place = field(default_factory=Here)
    """Where the work is done."""
    seed: int = 0
    method: Method | str = "mesh"
    """Of a recipe that names no makers; it finds the faces in inputs, too."""
    others: tuple[Method | ManipulationKind, ...] = ()
    """Makers that are not ours (`forge.foreign`), under the names by which the recipe names them."""
    gate: Gate = field(default_factory=Gate)
    """What every clip must keep to; one that does not is made again."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no dataset."""
        if self.limit is not None and self.limit < 1:
            raise ForgeError(f"limit must be at least 1, got {self.limit}")
        if not 0 <= self.seed < 2**63:
            raise ForgeError(f"seed must be from 0 to 2^63 - 1, got {self.seed}")

    @property
    def clips(self) -> int:
        """How many numbers are planned."""
        return self.recipe.clips if self.limit is None else self.limit

    @property
    def maker(self) -> Method:
        """The method, by name or as given."""
        return method_named(self.method) if isinstance(self.method, str) else self.method

    @property
    def makers(self) -> Makers:
        """Who makes the clips."""
        return Makers.of(self.recipe, self.maker, self.others)


@dataclass
class Run:
    """The clips of one run: what is done, what failed, what did not pass."""

    request: Request
    plan: Plan
    watch: Watch
    start: StartFilming
    rejects: Rejects
    done: Done
    failed: Done
    """Numbers that this run could not make; the next one tries them again."""
    made: int = 0
    """By this run, those taken back again included."""
    left_out: int = 0
    """Real clips that did not pass: there is no other to take their place."""
    failures: Failures = field(default_factory=Failures)
    planned: int = 0
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, request: Request, plan: Plan, watch: Watch, notify: Callable[[str], None] | None) -> Run:
        """Look at what an earlier run left.

        Raises:
            ForgeError: when the folder holds clips beyond what is asked for.
        """
        from provenance.identity import development_identity

        # before there are several processes that would all make one; and the same one signs on every machine
        identity = development_identity(notify=notify)
        makers = request.makers
        start = StartFilming(
            request.folder, request.recipe, makers, request.seed, makers.fingerprints(), identity, request.gate
        )
        run = cls(request, plan, watch, start, Rejects(request.folder), Done(request.clips), Done(request.clips))
        run.done = kept(request.folder, run.wanted(), request.clips)
        run.planned = sum(1 for _ in plan.clips(request.clips, ids=False))
        return run

    def wanted(self) -> Iterator[PlannedClip]:
        """Every clip that is planned, as it is to be made after what was rejected."""
        for clip in self.plan.clips(self.request.clips):
            attempt = self.rejects.attempt(clip.number)
            again = clip if not attempt else self.plan.clip(clip.number, attempt)
            if again is not None and attempt < MOST_ATTEMPTS:
                yield again

    def film(self) -> None:
        """Make what is missing; what does not pass is made again in further rounds.

        Raises:
            ForgeError: when the disk is full or nobody is left to work.
        """
        self.tell("filming")
        self._tell_given_up()
        self._film_missing()
        # a replacement may be a double in its turn
        while self._take_back_doubles():
            self._film_missing()

    def _film_missing(self) -> None:
        saved, cost = time.monotonic(), 0.0
        while self._missing():
            todo = (clip for clip in self.wanted() if clip.number not in self.done and clip.number not in self.failed)
            rejected_before = len(self.rejects)
            try:
                for outcome in self._place().run(todo, self.start):
                    if outcome.result is not None:
                        self._take(outcome.task, outcome.result)
                    else:
                        self._failed(outcome.task, outcome.cause or "unknown", outcome.error or "")
                    self.tell("filming")
                    if time.monotonic() - saved > max(CATALOG_EVERY_SECONDS, 50 * cost):
                        start = time.monotonic()
                        save_catalog(self.request.folder, self.wanted())
                        saved = time.monotonic()
                        cost = saved - start
            except MediaError as error:
                raise ForgeError(str(error)) from error
            if len(self.rejects) == rejected_before:
                return

    def _take_back_doubles(self) -> int:
        """Take back clips that are nearly the same as one of a lower number; returns how many."""
        folder = self.request.folder
        clips = (clip for clip in self.wanted() if clip.number in self.done)
        doubles = doubles_among(prints_of(folder, clips))
        for double in reversed(doubles):  # what links others stays until last: a kill in between changes nothing
            clip = self.plan.clip(double.number, self.rejects.attempt(double.number))
            assert clip is not None
            take_back(folder, clip.id)
            self.done.remove(clip.number)
            facts = {"id": clip.id, "attempt": clip.attempt, "maker": clip.maker, "cause": "double"}
            self.rejects.add(clip.number, facts | {"of": double.of_number})
            if self._given_up(clip.number):
                self._tell_given_up_one(clip)
        return len(doubles)

    def _missing(self) -> int:
        return self.planned - len(self.done) - len(self.failures) - self.left_out

    def _place(self) -> Place:
        """No more processes than there are clips to make."""
        place = self.request.place
        if isinstance(place, Here):
            return replace(place, workers=max(1, min(place.workers, self._missing())))
        return place

    def _take(self, clip: PlannedClip, made: Made) -> None:
        if made.rejected is not None:
            facts = {"id": clip.id, "attempt": clip.attempt, "maker": clip.maker, **made.rejected}
            self.rejects.add(clip.number, facts)
            if self._given_up(clip.number):
                self._tell_given_up_one(clip)
            return
        try:
            if made.files:
                from provenance.store import store_folder

                deliver(self.request.folder, made, store_folder())
        except OSError as error:
            self._failed(clip, "OSError", f"{error.filename or self.request.folder}: {error.strerror or error}")
            return
        self.done.add(clip.number)
        self.made += 1

    def _given_up(self, number: int) -> bool:
        attempt = self.rejects.attempt(number)
        return attempt >= MOST_ATTEMPTS or self.plan.clip(number, attempt) is None

    def _tell_given_up(self) -> None:
        """Numbers that an earlier run gave up."""
        for number in self.rejects.numbers():
            clip = self.plan.clip(number) if number < self.request.clips else None
            if clip is not None and self._given_up(number):
                self._tell_given_up_one(clip)

    def _tell_given_up_one(self, clip: PlannedClip) -> None:
        if clip.maker == REAL:
            self.failed.add(clip.number)
            self.left_out += 1
            return
        times = self.rejects.attempt(clip.number)
        self._failed(clip, "rejected", f"did not pass the quality gate {times} times; see rejected.jsonl")

    def _failed(self, clip: PlannedClip, cause: str, reason: str) -> None:
        if NO_SPACE in reason:
            raise ForgeError(f"{self.request.folder}: the disk is full; free space and give the same command again")
        self.failed.add(clip.number)
        facts = {"id": clip.id, "number": clip.number, "label": clip.label.value, "maker": clip.maker}
        for used in (clip.face, clip.speech, clip.donor):
            reason = reason.replace(f"{Path(used.path).parent}/", "") if used else reason
        self.failures.add(clip.number, facts | {"input": clip.face.name, "cause": cause, "reason": reason})

    def tell(self, stage: str) -> None:
        """Say how far it is."""
        self.watch(
            Progress(
                stage,
                len(self.done),
                self.planned,
                failed=len(self.failures) + self.left_out,
                kept=max(0, len(self.done) - self.made),
                rejected=len(self.rejects),
                causes=self.failures.causes + self.rejects.causes,
                workforce=self.request.place.workforce(),
                seconds=time.monotonic() - self.began,
            )
        )
