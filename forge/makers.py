"""Who makes the clips of a run: methods and manipulations by name, those of strangers among them.

makers = Makers.of(recipe, method_named("mesh"), others=())
crew = OpenMakers(makers)
crew.method("mesh").film(...), crew.manipulation("face_swap").forge(...)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forge.design import MakerFacts, facts_of
from forge.manipulations.known import MANIPULATIONS
from forge.manipulations.scene import Manipulation, ManipulationKind
from forge.methods import METHODS, Maker, Method
from forge.portrait import ForgeError
from forge.recipes import DatasetRecipe

if TYPE_CHECKING:
    from media.faces import FaceFinder
    from media.landmarks import FaceObservation


FOREIGN = "foreign:"
"""How the names of makers begin that are not ours (`forge.foreign`)."""


@dataclass(frozen=True)
class Makers:
    """By name; nothing is loaded."""

    main: Method
    """Finds faces in inputs, and makes the clips of a recipe that names no makers."""
    named: Mapping[str, Method | ManipulationKind]

    @classmethod
    def of(cls, recipe: DatasetRecipe, main: Method, others: Sequence[Method | ManipulationKind] = ()) -> Makers:
        """The makers that a recipe names.

        Args:
            recipe: names them.
            main: the method that is asked for.
            others: makers that are not ours, under their own names.

        Raises:
            ForgeError: for a name that nobody has, or that two have.
        """
        called = [*METHODS, *MANIPULATIONS, *(maker.name for maker in others)]
        if twice := [maker.name for maker in others if called.count(maker.name) > 1]:
            raise ForgeError(f"two makers are called {twice[0]}; give each a name of its own")
        known: dict[str, Method | ManipulationKind] = {**METHODS, **MANIPULATIONS, main.name: main}
        known |= {maker.name: maker for maker in others}
        names = dict.fromkeys(recipe.makers or (main.name,))
        missing = [name for name in names if name not in known]
        if missing:
            raise ForgeError(f"maker must be one of {', '.join(known)}, got {missing[0]!r}")
        return cls(main, {name: known[name] for name in names})

    def facts(self) -> dict[str, MakerFacts]:
        """What a plan must know of them."""
        return {name: facts_of(maker) for name, maker in self.named.items()}

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 (hexadecimal) of what each is made of."""
        return {name: maker.fingerprint() for name, maker in self.named.items()}

    @property
    def forge_recordings(self) -> bool:
        """Whether any starts from a real clip."""
        return any(isinstance(maker, ManipulationKind) for maker in self.named.values())


@dataclass(frozen=True)
class Careful:
    """A face finder that several threads may ask."""

    finder: FaceFinder
    lock: AbstractContextManager[object]

    def find(self, image: NDArray[np.uint8]) -> list[FaceObservation]:
        """As `FaceFinder.find`."""
        with self.lock:
            return self.finder.find(image)

    def measure(self, image: NDArray[np.uint8], box: NDArray[np.float32]) -> FaceObservation | None:
        """As `FaceFinder.measure`."""
        with self.lock:
            return self.finder.measure(image, box)


@dataclass
class OpenMakers:
    """Makers of one process, each loaded when it is first needed."""

    makers: Makers
    _methods: dict[str, Maker] = field(default_factory=dict)
    _manipulations: dict[str, Manipulation] = field(default_factory=dict)
    _finder: FaceFinder | None = None
    fitting: RLock = field(default_factory=RLock)
    """Held while a maker is loaded and while it looks at faces: neither can be done twice at a time."""

    def alone(self, name: str) -> AbstractContextManager[object]:
        """What is held while a maker looks at a face; a foreign one runs elsewhere and takes long."""
        return nullcontext() if name.startswith(FOREIGN) else self.fitting

    def method(self, name: str) -> Maker:
        """A loaded method."""
        with self.fitting:
            if name not in self._methods:
                method = self.makers.named[name]
                assert isinstance(method, Method), f"{name} animates no portrait"
                self._methods[name] = method.open()
            return self._methods[name]

    def manipulation(self, name: str) -> Manipulation:
        """A loaded manipulation."""
        with self.fitting:
            if name not in self._manipulations:
                self._manipulations[name] = self.kind(name).open()
            return self._manipulations[name]

    def kind(self, name: str) -> ManipulationKind:
        """What a manipulation needs and forges."""
        kind = self.makers.named[name]
        assert isinstance(kind, ManipulationKind), f"{name} forges no recording"
        return kind

    def looking(self) -> Careful:
        """The face networks, for whoever does not hold `fitting`."""
        return Careful(self.finder(), self.fitting)

    def finder(self) -> FaceFinder:
        """The face networks."""
        with self.fitting:
            if self._finder is None:
                from media.faces import FaceFinder

                self._finder = FaceFinder()
            return self._finder
