"""Takes kept in memory, and the lessons drawn from them: what the studio knows, batched for training.

    reel = Reel(crew.shoot, plan, casting=crew.casting, device="cuda", seed=1)
    lessons = reel.lessons(batch=24, targets=2)            # sources, targets, drivers, exact flow
    views = reel.views(batch=64)                           # single frames for RenderNet, two scenes of each person

Axes: T takes, F frames of a take, G sources prepared in a take, N targets of a source, B batch, H W pixels, h w cells
of side / 4, M motion features.

Rendering and training share one GPU, so a rendered frame is used several times: takes come in fours (two people, two
scenes; in one scene both make the same motion), live in preallocated tensors and are replaced as the plan says. People
whose seed is `studio.footage`'s held-out range are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from forge.face.warp import SHAPE_MODES, distance_of
from forge.portrait import ForgeError
from forge.studio.footage import Footage, flow_pairs, load_footage

Shoot = Callable[[int, int, int], Footage]
"""Film a person (seed) for a number of frames in a scene and with a motion (seed)."""
FOOTAGE_SUFFIX = ".footage"
HELD_OUT = 1_000_000
CELL = 4
"""Pixels a side of a cell of the exact flow, depth and normals."""


@dataclass(frozen=True)
class ReelPlan:
    """What is kept and how it is used."""

    size: int
    frames: int = 16
    kept: int = 192
    sources: int = 8
    """Sources of a take for which flows are computed; 0 for RenderNet."""
    targets: int = 2
    held_out: bool = False
    """For an exam: only people who are kept from training, instead of only those who are not."""

    def __post_init__(self) -> None:
        """Refuse plans that cannot be filled."""
        if self.kept < 1 or self.frames < 2 or self.targets < 1 or self.size % 32:
            raise ValueError(f"need kept >= 1, frames >= 2, targets >= 1, size a multiple of 32, got {self}")


@dataclass(frozen=True)
class Lessons:
    """A batch for the face: sources, targets of the same take, and what is exactly known between them."""

    source_B3HW: Tensor
    """uint8."""
    source_parts_BHW: Tensor
    source_motion_BM: Tensor
    target_BN3HW: Tensor
    target_parts_BNHW: Tensor
    target_motion_BNM: Tensor
    target_depth_BNhw: Tensor
    """Centimetres at the cells, infinity where nothing is."""
    driver_BN3HW: Tensor
    """Who shows the target's motion: another person where `crossed_B`, else the target itself."""
    crossed_B: Tensor
    where_BNhw2: Tensor
    """Place in the source of each cell of the target."""
    visible_BNhw: Tensor
    distance_B: Tensor
    """Camera distance in the standard framing, centimetres."""
    shape_BK: Tensor
    """Modes of the head's shape."""
    person_B: Tensor


@dataclass(frozen=True)
class Views:
    """A batch of single frames for RenderNet; entry 2k and 2k + 1 are one person, in two scenes where there are two."""

    image_B3HW: Tensor
    parts_BHW: Tensor
    depth_Bhw: Tensor
    normal_B3hw: Tensor
    landmarks_BL2: Tensor
    """[-1, 1]."""
    motion_BM: Tensor
    distance_B: Tensor
    person_B: Tensor


class Reel:
    """Takes in memory."""

    def __init__(
        self,
        shoot: Shoot,
        plan: ReelPlan,
        *,
        casting: Callable[[], int] | None = None,
        device: str | torch.device = "cpu",
        seed: int = 0,
    ) -> None:
        """An empty reel over a studio; `fill` or the first lesson films the takes.

        Args:
            shoot: films a person in a scene; one scene is one motion, whoever plays it.
            plan: what is kept.
            casting: names the next person; by default any training seed.
            device: where takes are kept.
            seed: of everything drawn.
        """
        self.plan, self.device = plan, torch.device(device)
        self._shoot, self._casting = shoot, casting
        self._random = torch.Generator().manual_seed(seed)
        self._kept: dict[str, Tensor] = {}
        self.filled = 0
        self._next = 0
        self.frames_filmed = 0

    @classmethod
    def of_takes(cls, takes: Sequence[Footage], plan: ReelPlan, **options: object) -> Reel:
        """A reel that never changes, of given takes."""
        reel = cls(_never, plan, **options)  # type: ignore[arg-type]
        for number, take in enumerate(takes[: plan.kept]):
            reel._put(number, take)
        reel._tie()
        return reel

    @classmethod
    def of_folder(cls, folder: Path, plan: ReelPlan, *, device: str | torch.device = "cpu", seed: int = 0) -> Reel:
        """A reel of saved takes.

        Raises:
            ForgeError: when there are none, or only held-out people.
        """
        if not folder.is_dir():
            raise ForgeError(f"{folder}: no such folder; film takes into one with `countermark forge studio`")
        files = sorted(folder.rglob(f"*{FOOTAGE_SUFFIX}"))
        takes: list[Footage] = []
        for file in files:
            take = load_footage(file, device=device)
            if take.held_out == plan.held_out:
                takes.append(take)
            if len(takes) == plan.kept:
                break
        if not takes:
            raise ForgeError(
                f"{folder}: {len(files)} takes ({FOOTAGE_SUFFIX}), none of a person for training (seeds below "
                f"{HELD_OUT:,}); film some with `countermark forge studio`"
            )
        return cls.of_takes(takes, plan, device=device, seed=seed)

    @property
    def renewable(self) -> bool:
        """Whether takes can be replaced: not when they came from a folder."""
        return self._shoot is not _never

    def fill(self, takes: int | None = None) -> None:
        """Film until a number of takes (by default all that are kept) are there."""
        while self.renewable and self.filled < min(self.plan.kept if takes is None else takes, self.plan.kept):
            self.renew()

    def renew(self) -> None:
        """Film two new people in two scenes each, in place of the oldest four takes."""
        first = self._person()
        second = next((p for p in (self._person() for _ in range(8)) if p != first), first)
        people = [first, second]
        scenes = [int(torch.randint(2**31, (), generator=self._random)) for _ in range(2)]
        for offset in range(min(4, self.plan.kept)):
            slot = (self._next + offset) % self.plan.kept
            self._put(slot, self._shoot(people[offset // 2], self.plan.frames, scenes[offset % 2]))
        self._next = (self._next + 4) % self.plan.kept
        self._tie()

    def _person(self) -> int:
        """A person's seed."""
        if self._casting is not None:
            return self._casting()
        return int(torch.randint(HELD_OUT // 2, (), generator=self._random)) + HELD_OUT * self.plan.held_out

    def _put(self, slot: int, take: Footage) -> None:
        """Write a take's tensors into a slot."""
        if take.held_out != self.plan.held_out:
            raise ForgeError(f"person {take.identity} is kept for evaluation, training and exams must not mix")
        if take.size != self.plan.size:
            raise ForgeError(f"takes of {take.size} px for a model of {self.plan.size} px; film them at that size")
        if take.length < 2:
            raise ForgeError(f"a take of {take.length} frame cannot teach motion; film at least 2")
        frames = torch.arange(self.plan.frames) % take.length
        self.frames_filmed += take.length
        rows = self._rows(take.to(self.device), frames.to(self.device))
        for name, value in rows.items():
            if name not in self._kept:
                self._kept[name] = torch.zeros((self.plan.kept, *value.shape), dtype=value.dtype, device=self.device)
            self._kept[name][slot] = value
        self.filled = max(self.filled, slot + 1)

    def _rows(self, take: Footage, frames_F: Tensor) -> dict[str, Tensor]:
        """What is kept of a take."""
        size = take.size
        cells = slice(CELL // 2, None, CELL)
        focal = take.focal_F[:1]
        rows = {
            "image": take.image_F3HW[frames_F],
            "parts": take.parts_FHW[frames_F],
            "depth": take.depth_FHW[frames_F][:, cells, cells],
            "motion": take.motion_FM[frames_F].float(),
            "distance": distance_of(focal, size)[0],
            "person": torch.tensor(take.identity, device=self.device),
            "shape": functional.pad(take.identity_K.float(), (0, SHAPE_MODES))[:SHAPE_MODES],
        }
        if self.plan.sources:
            return rows | self._flows(take, frames_F)
        return rows | {
            "normal": take.normal_F3HW[frames_F][:, :, cells, cells],
            "landmarks": take.landmarks_FL2[frames_F].float() * (2.0 / size) - 1.0,
        }

    def _flows(self, take: Footage, frames_F: Tensor) -> dict[str, Tensor]:
        """Exact flow from some sources of a take to some of its other frames."""
        count, targets = self.plan.sources, self.plan.targets
        order = torch.stack([torch.randperm(self.plan.frames, generator=self._random) for _ in range(count)])
        if self.plan.frames < targets + 1:
            raise ForgeError(f"{self.plan.frames} frames a take for {targets} targets; film more")
        source_G = torch.arange(count) % self.plan.frames if count >= self.plan.frames else order[:, 0]
        others = torch.stack([row[row != s][:targets] for row, s in zip(order, source_G, strict=True)])
        source = source_G[:, None].expand(-1, targets).reshape(-1).to(self.device)
        target = others.reshape(-1).to(self.device)
        places, shown = [], []
        for a, b in zip(source.split(8), target.split(8), strict=True):  # a few at a time: the gather is large
            where, visible, known = flow_pairs(take, frames_F[a], frames_F[b])
            places.append(functional.avg_pool2d(where.permute(0, 3, 1, 2)[:, :, 1:-1, 1:-1], 2, CELL))
            seen = functional.avg_pool2d((visible & known).float()[:, None, 1:-1, 1:-1], 2, CELL)
            shown.append(seen[:, 0] > 0.9)
        where_hw2 = torch.cat(places).permute(0, 2, 3, 1).clamp(-4, 4)
        side = take.size // CELL
        return {
            "source": source_G.to(self.device),
            "target": others.to(self.device),
            "where": where_hw2.reshape(count, targets, side, side, 2).half(),
            "visible": torch.cat(shown).reshape(count, targets, side, side),
        }

    def _tie(self) -> None:
        """Find for every take another one of the same person, and one in which another person moves alike."""
        person = self._kept["person"][: self.filled].cpu()
        motion = self._kept["motion"][: self.filled].flatten(1).cpu()
        same = person[:, None] == person[None]
        same.fill_diagonal_(False)
        itself = torch.arange(self.filled)
        alike = (torch.cdist(motion, motion, p=float("inf")) < 1e-4) & (person[:, None] != person[None])
        self._mate = torch.where(same.any(1), same.float().argmax(1), itself).to(self.device)
        self._twin = torch.where(alike.any(1), alike.float().argmax(1), itself).to(self.device)

    def lessons(self, batch: int, *, crossed: float = 0.0) -> Lessons:
        """A batch of sources with their targets.

        Args:
            batch: sources.
            crossed: share of the drivers to take from another person with the same motion, where there is one.
        """
        self._need(1)
        kept = self._kept
        take = torch.randint(self.filled, (batch,), generator=self._random).to(self.device)
        group = torch.randint(self.plan.sources, (batch,), generator=self._random).to(self.device)
        source, target = kept["source"][take, group], kept["target"][take, group]
        wanted = (torch.rand(batch, generator=self._random) < crossed).to(self.device)
        driver = torch.where(wanted, self._twin[take], take)
        return Lessons(
            source_B3HW=kept["image"][take, source],
            source_parts_BHW=kept["parts"][take, source],
            source_motion_BM=kept["motion"][take, source],
            target_BN3HW=kept["image"][take[:, None], target],
            target_parts_BNHW=kept["parts"][take[:, None], target],
            target_motion_BNM=kept["motion"][take[:, None], target],
            target_depth_BNhw=kept["depth"][take[:, None], target],
            driver_BN3HW=kept["image"][driver[:, None], target],
            crossed_B=driver != take,
            where_BNhw2=kept["where"][take, group].float(),
            visible_BNhw=kept["visible"][take, group],
            distance_B=kept["distance"][take],
            shape_BK=kept["shape"][take],
            person_B=kept["person"][take],
        )

    def views(self, batch: int) -> Views:
        """A batch of single frames; an even number, two of each person."""
        self._need(1)
        kept = self._kept
        first = torch.randint(self.filled, (batch // 2,), generator=self._random).to(self.device)
        take = torch.stack([first, self._mate[first]], 1).reshape(-1)
        frame = torch.randint(self.plan.frames, (len(take),), generator=self._random).to(self.device)
        return Views(
            image_B3HW=kept["image"][take, frame],
            parts_BHW=kept["parts"][take, frame],
            depth_Bhw=kept["depth"][take, frame],
            normal_B3hw=kept["normal"][take, frame].float(),
            landmarks_BL2=kept["landmarks"][take, frame],
            motion_BM=kept["motion"][take, frame],
            distance_B=kept["distance"][take],
            person_B=kept["person"][take],
        )

    def _need(self, takes: int) -> None:
        if self.filled < takes:
            self.fill(4)


def _never(person: int, frames: int, scene: int) -> Footage:
    """The studio of a reel of given takes."""
    raise ForgeError("this reel holds given takes and films no others")
