"""Making people takes a core-second or more, filming them takes none: a crew makes people ahead, in other processes.

    with Crew(size=256, device="cuda", people="rendered", seed=1, workers=14) as crew:
        person = crew.casting()                          # a seed whose person is ready, new or lately used
        footage = crew.shoot(person, 16, scene=5)        # the same motion for whoever plays the scene

With `workers=0` people are made where they are needed, in this process.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Literal

import torch

from forge.portrait import ForgeError
from forge.studio.footage import Footage
from forge.studio.looks import Person
from forge.studio.performance import pose_stills
from forge.studio.studio import Studio, render_person

People = Literal["rendered", "photo", "mix"]
AHEAD = 2
"""People under way for each worker."""
TRAINING_SEEDS = 500_000
"""People are drawn below; held-out people begin at a million."""
PHOTO_SHARE = 0.4
"""Of people with a photograph for a skin, in a mix."""
FIRST_PATIENCE_SECONDS = 180.0
"""How long to wait for the first person; workers import and warm up."""


class _Cast(Studio):
    """A studio whose people come from a crew."""

    hand_over: Callable[[int], Person]

    def person(self, seed: int) -> Person:
        """Whom the crew made, or makes now."""
        return self.hand_over(seed)


class Crew:
    """People made ahead, and the studio that films them."""

    def __init__(
        self,
        size: int,
        *,
        device: torch.device | str = "cpu",
        people: People = "rendered",
        seed: int = 0,
        workers: int = 0,
        parity: str = "all",
        kept: int = 192,
        photo_folder: Path | None = None,
    ) -> None:
        """Start the workers.

        Args:
            size: side of pictures, pixels.
            device: where to film.
            people: rendered, textured with photographs, or a mix.
            seed: of the draw of people.
            workers: processes; 0 makes people here.
            parity: `all`, or `even` or `odd` person seeds.
            kept: people who can be cast again.
            photo_folder: of prepared photo people, for the kinds photo and mix.
        """
        self._made: OrderedDict[int, Person] = OrderedDict()
        self._people, self._kept = people, kept
        # in a mix odd seeds wear photographs, which nobody needs to make
        self._parity = "even" if people == "mix" and parity == "all" else parity
        self._studio = _Cast(size, device, seed, people, photo_folder=photo_folder)
        self._studio.hand_over = self._hand_over
        self._random = torch.Generator().manual_seed(seed)
        self._pool = None
        self._waiting: list[Future[Person]] = []
        if workers and people != "photo":
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(workers, mp_context=context)
            self._waiting = [self._order() for _ in range(workers * AHEAD)]

    def __enter__(self) -> Crew:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send the workers home."""
        self.close()

    def close(self) -> None:
        """Send the workers home."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    @property
    def ready(self) -> int:
        """How many people were made so far and are kept."""
        return len(self._made)

    def casting(self) -> int:
        """Seed of a person: a new one where one is ready, else one who was there before."""
        if self._people == "mix" and float(torch.rand((), generator=self._random)) < PHOTO_SHARE:
            return int(torch.randint(TRAINING_SEEDS // 2, (), generator=self._random)) * 2 + 1
        if self._pool is None:
            return self._draw()
        began = time.monotonic()
        while True:
            done = next((f for f in self._waiting if f.done()), None)
            if done is not None:
                self._waiting.remove(done)
                self._waiting.append(self._order())
                return self._welcome(done.result())
            if self._made:
                seeds = list(self._made)
                return seeds[int(torch.randint(len(seeds), (), generator=self._random))]
            if time.monotonic() - began > FIRST_PATIENCE_SECONDS:
                raise ForgeError(f"no person was made in {FIRST_PATIENCE_SECONDS:.0f} s; use fewer workers, or none")
            time.sleep(0.02)

    def bring(self, seeds: Sequence[int]) -> None:
        """Have these very people made, all at once, and keep them."""
        absent = [s for s in dict.fromkeys(seeds) if s not in self._made and not self._studio.is_photo(s)]
        if self._pool is None:
            made = [render_person(seed, self._studio.atlas_side) for seed in absent]
        else:
            side = self._studio.atlas_side
            made = [f.result() for f in [self._pool.submit(render_person, s, side) for s in absent]]
        for person in made:
            self._welcome(person)

    def shoot(self, person: int, frames: int, scene: int) -> Footage:
        """Film a person in the motion and light of a scene's seed."""
        return self._studio.shoot(person, frames, scene, motion_FM=torch.from_numpy(pose_stills(scene, frames)))

    def _draw(self) -> int:
        """A seed of the right parity."""
        seed = int(torch.randint(TRAINING_SEEDS, (), generator=self._random))
        return seed if self._parity == "all" else seed // 2 * 2 + (self._parity == "odd")

    def _order(self) -> Future[Person]:
        """Have another person made."""
        assert self._pool is not None
        return self._pool.submit(render_person, self._draw(), self._studio.atlas_side)

    def _welcome(self, person: Person) -> int:
        """Keep a person, and let the oldest go."""
        self._made[person.seed] = person
        while len(self._made) > self._kept:
            self._made.popitem(last=False)
        return int(person.seed)

    def _hand_over(self, seed: int) -> Person:
        """What the studio calls for a person it does not know."""
        if seed in self._made:
            return self._made[seed]
        person = render_person(seed, self._studio.atlas_side)
        if self._pool is None:
            self._welcome(person)
        return person
