"""The studio: seeded people in seeded scenes, filmed with everything known about every pixel.

    studio = Studio(size=256, seed=0)
    footage = studio.shoot(person_seed=7, frames=16, rng_seed=1)       # one person, one scene, sixteen poses
    for footage in studio.stream(frames_per_take=16): ...              # without end, for training on the fly

How a take comes about, by number:
    1. who: `person(seed)` draws a look, shapes the head, grows hair, dresses, bakes the atlas (once a person)
    2. where: a scene of lights, backdrop and lens (once a take)
    3. what: a motion vector a frame, from `performance` or given
    4. the mesh is posed for all frames at once, drawn at twice the size, shaded and averaged
    5. the same mesh is drawn at the pixel centres: the truth
Axes: F frames, H W pixels, S side, M motion features.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from forge.motion.features import POSE, Z_DYN
from forge.portrait import ForgeError
from forge.studio.backdrops import paint_backdrop
from forge.studio.figure import Figure, assemble, head_uv, torso_pose
from forge.studio.footage import Footage
from forge.studio.hair import grow_hair
from forge.studio.head import PART, load_head, pose_matrix, standard_focal, to_screen
from forge.studio.lens import develop
from forge.studio.looks import LICENCE, Person, sample_identity, sample_look
from forge.studio.performance import pose_stills
from forge.studio.scenes import Scene, sample_scene
from forge.studio.shading import draw, gather, shade
from forge.studio.textures import bake_atlas
from forge.studio.wardrobe import dress, glasses

People = Literal["rendered", "photo", "mix"]
HELD_OUT = 1_000_000
"""People with seeds from here on are kept for evaluation."""
SAMPLES = 2
"""Sub-samples an axis of the picture."""
FRAMES_AT_ONCE = {"cpu": 2, "cuda": 32}
KEPT_PEOPLE = {"cpu": 4, "cuda": 256}
FIRST_PEOPLE = 8
"""A stream begins with so many."""
RECIPE = "studio-1"


def render_person(seed: int, atlas_side: int) -> Person:
    """Make a rendered person: about a core-second.

    Args:
        seed: equal seeds give equal people.
        atlas_side: pixels a side of the texture.
    """
    look, head = sample_look(seed), load_head()
    identity = sample_identity(seed, head.modes)
    with torch.no_grad():
        rest_1V3 = head.shape(torch.from_numpy(identity)[None])
        normal = head.normals(rest_1V3)[0].double().numpy()
        rest = rest_1V3[0].double().numpy()
        worn = [*grow_hair(look, rest, normal), *dress(look, rest), *glasses(look, rest, head.marks_68.numpy())]
        atlas = bake_atlas(look, atlas_side)
    facts = {
        "age": round(look.age), "femininity": round(look.femininity, 2), "melanin": round(look.melanin, 2),
        "hair": look.hair, "beard": look.beard > 0 or look.moustache > 0, "glasses": look.frame,
        "garment": look.garment,
    }  # fmt: skip
    made_up = look.makeup.liner > 0.25 or (look.femininity > 0.6 and look.age < 60)
    return Person(seed, "rendered", identity, atlas, tuple(worn), made_up, LICENCE, facts)


@dataclass(frozen=True, eq=False)
class Player:
    """A person on a device: rendered (`person`, `figure`) or photographed (`actor`)."""

    seed: int
    person: Person | None = None
    figure: Figure | None = None
    actor: Any = None
    """`photo_film.Actor`."""


class Studio:
    """Films people; equal arguments give equal footage on one kind of device."""

    def __init__(
        self,
        size: int = 256,
        device: torch.device | str = "cpu",
        seed: int = 0,
        people: People = "rendered",
        *,
        photo_folder: str | Path | None = None,
        atlas_side: int | None = None,
        compiled: bool = False,
    ) -> None:
        """Load the head.

        Args:
            size: side of the pictures in pixels.
            device: where to draw.
            seed: of the studio's own draws in `stream`.
            people: rendered, textured with photographs, or both by turns (odd seeds are photographs).
            photo_folder: of people saved by `photo_person.save_person`; needed for the kinds photo and mix.
            compiled: fuse the shading with torch.compile (for a GPU); the first take of a shape takes a minute.
            atlas_side: texture size; by default twice that of the pictures, at most 1024.

        Raises:
            ValueError: for a size that no picture has.
        """
        if not 32 <= size <= 1024:
            raise ValueError(f"size must be 32 to 1024 pixels, got {size}")
        if people not in ("rendered", "photo", "mix"):
            raise ValueError(f"people must be rendered, photo or mix, got {people!r}")
        self.size, self.device, self.seed, self.people = size, torch.device(device), seed, people
        self.atlas_side = atlas_side or min(1024, max(128, 2 * size))
        self.compiled = compiled
        self._photos = sorted(Path(photo_folder).glob("*.npz")) if photo_folder is not None else []
        if people != "rendered" and not self._photos:
            raise ForgeError(f"{photo_folder}: no photo people there; make them first, or film rendered people")
        self._head = load_head().to(self.device)
        self._uv_V2 = head_uv(load_head())
        self._cast: OrderedDict[int, Player] = OrderedDict()

    def person(self, seed: int) -> Person:
        """The rendered person of a seed, without filming."""
        return render_person(seed, self.atlas_side)

    def is_photo(self, seed: int) -> bool:
        """Whether the person of a seed wears a photograph."""
        return self.people == "photo" or (self.people == "mix" and seed % 2 == 1)

    def _newcomer(self, seed: int) -> Player:
        """Make a person, whatever it wears, ready to be drawn on the device."""
        with torch.no_grad():
            if self.is_photo(seed):
                from forge.studio.photo_film import ready
                from forge.studio.photo_widen import cast_person

                first = HELD_OUT if seed >= HELD_OUT else 0
                number = first + (seed - first) // (2 if self.people == "mix" else 1)
                return Player(seed, actor=ready(cast_person(self._photos, number), self.device))
            person = self.person(seed)
            figure = assemble(person, self._head, self._uv_V2, self.device, lash_tips=self.size > 256)
            return Player(seed, person=person, figure=figure)

    def _admit(self, player: Player) -> int:
        """Keep a person on the device; its seed."""
        self._cast[player.seed] = player
        return player.seed

    def _dismiss(self, seed: int, still_here: Iterable[int]) -> None:
        """Let a person go, unless the same one entered twice."""
        if seed not in still_here:
            self._cast.pop(seed, None)

    def player(self, person_seed: int) -> Player:
        """A person on the device; the last few are kept."""
        if person_seed not in self._cast:
            self._admit(self._newcomer(person_seed))
            while len(self._cast) > KEPT_PEOPLE.get(self.device.type, 4):
                self._cast.popitem(last=False)
        self._cast.move_to_end(person_seed)
        return self._cast[person_seed]

    def _plan(self, seed: int, frames: int) -> tuple[Tensor, Scene, Tensor]:
        """What a take needs besides the person: motion, scene and backdrop."""
        scene = sample_scene(seed)
        return torch.from_numpy(pose_stills(seed, frames)), scene, paint_backdrop(scene, self.size)

    def shoot(
        self,
        person_seed: int,
        frames: int,
        rng_seed: int,
        *,
        motion_FM: Tensor | np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None = None,
        scene: Scene | None = None,
        backdrop: Tensor | None = None,
    ) -> Footage:
        """Film one person in one scene.

        Args:
            person_seed: who; from 1,000,000 on people are held out.
            frames: how many.
            rng_seed: of the scene and of the performance.
            motion_FM: (F, 70) what to do, in rig units with an absolute pose; by default `performance.pose_stills`.
            scene: where; by default drawn by the seed.
            backdrop: (3, S, S) linear light behind the person; by default that of the scene.

        Raises:
            ValueError: when `motion_FM` has another number of frames.
        """
        seed = hash_seed(person_seed, rng_seed)
        motion = torch.as_tensor(pose_stills(seed, frames) if motion_FM is None else motion_FM, dtype=torch.float32)
        if motion.shape[0] != frames:
            raise ValueError(f"motion must have {frames} frames, got {motion.shape[0]}")
        motion = motion.to(self.device)
        player = self.player(person_seed)
        if player.actor is not None:
            return self._film_photo(player, motion, rng_seed)
        assert player.person is not None and player.figure is not None
        person, figure = player.person, player.figure
        scene = sample_scene(seed) if scene is None else scene
        backdrop = paint_backdrop(scene, self.size) if backdrop is None else backdrop
        step = FRAMES_AT_ONCE.get(self.device.type, 2)
        with torch.no_grad():
            backdrop = backdrop.to(self.device)
            shots = [
                self._draw(figure, motion[first : first + step], scene, backdrop, hash_seed(rng_seed, first))
                for first in range(0, frames, step)
            ]
        joined: dict[str, Any] = {name: torch.cat([shot[name] for shot in shots]) for name in shots[0]}
        facts = scene_facts(scene) | {"person": dict(person.facts), "kind": person.kind}
        return Footage(
            **joined,
            motion_FM=motion,
            triangles_T3=figure.triangles_T3.int(),
            identity_K=figure.identity_1K[0],
            share_V=figure.share_V,
            identity=person_seed,
            scene=facts,
            seed=rng_seed,
            recipe=RECIPE,
            licence=person.licence,
        )

    def _film_photo(self, player: Player, motion_FM: Tensor, rng_seed: int) -> Footage:
        """Film a person that wears a photograph; `photo_film` does it."""
        from forge.studio.photo_film import film

        with torch.no_grad():
            footage = film(player.actor, motion_FM, self.size, seed=rng_seed)
        return replace(footage, identity=player.seed)

    def _draw(
        self, figure: Figure, motion_FM: Tensor, scene: Scene, backdrop: Tensor, noise_seed: int
    ) -> dict[str, Tensor]:
        """A few frames at once: picture and truth."""
        size, fine = self.size, self.size * SAMPLES
        pose, dyn = motion_FM[:, POSE], motion_FM[:, Z_DYN]
        distance = scene.distance_cm
        focal = float(standard_focal(size, distance))
        matrix = pose_matrix(pose, distance)
        lean = torch.tensor(scene.lean_degrees, device=self.device)
        torso = pose_matrix(torso_pose(pose, lean), distance)
        camera, normal, tangent = figure.to_camera(dyn, matrix, torso)
        screen = to_screen(camera, focal, size)
        sharp = screen * screen.new_tensor([SAMPLES, SAMPLES, 1.0])
        dense = self.device.type != "cpu"  # a list of what is seen would be read back from a GPU
        fragments, depth = gather(figure, sharp, normal, tangent, focal * SAMPLES, fine, dense=dense)
        light = shade(fragments, depth, matrix[:, :, :3], scene, focal * SAMPLES, fine, compiled=self.compiled)
        canvas = torch.cat([light, torch.ones_like(light[:1])]) * fragments.alpha_N
        if fragments.place_N is not None:
            filled = canvas.new_zeros(4, len(pose) * fine * fine)
            filled[:, fragments.place_N] = canvas
            canvas = filled
        canvas = canvas.view(4, len(pose), fine, fine).transpose(0, 1)
        canvas = functional.avg_pool2d(canvas.clamp(max=8.0), SAMPLES)
        picture = canvas[:, :3] + (1 - canvas[:, 3:]) * backdrop
        image = develop(picture, scene, noise_seed)
        cover = draw(figure, screen, size)
        own = functional.normalize(cover.interpolate(normal), dim=-1)
        return {
            "image_F3HW": image,
            "parts_FHW": cover.per_triangle(figure.label_T, PART["background"]),
            "depth_FHW": cover.depth_BHW,
            "normal_F3HW": own.permute(0, 3, 1, 2).half(),
            "head_to_camera_F34": matrix,
            "torso_to_camera_F34": torso,
            "focal_F": torch.full((len(pose),), focal, device=self.device),
            "landmarks_FL2": figure.head.landmarks(screen)[..., :2],
            "triangle_FHW": cover.triangle_BHW.int(),
            "weights_FHW3": cover.weights_BHW3.half(),
            "screen_FV3": screen,
        }

    def stream(
        self,
        frames_per_take: int = 16,
        *,
        people: int = 10_000,
        kept: int = 64,
        takes_a_person: int = 16,
        threads: int = 4,
    ) -> Iterator[Footage]:
        """Takes without end, for training on the fly; equal studios give equal streams.

        People, scenes and performances are made by threads in the background while others are filmed. Eight people
        start; every `takes_a_person` takes another one enters, and the oldest leaves once `kept` are there.

        Args:
            frames_per_take: frames of each.
            people: person seeds are drawn below this number (never a held-out one).
            kept: people on the device at a time.
            takes_a_person: takes between two newcomers.
            threads: that prepare.

        Raises:
            ValueError: for no people, or seeds of held-out ones.
        """
        if not 0 < people <= HELD_OUT:
            raise ValueError(f"people must be 1 to {HELD_OUT}, got {people}")
        rng = np.random.default_rng([self.seed, 61])
        cast = deque[int]()
        with ThreadPoolExecutor(max_workers=threads) as pool:
            coming = deque(
                pool.submit(self._newcomer, int(rng.integers(people))) for _ in range(FIRST_PEOPLE + threads)
            )
            plans = deque[tuple[int, Future[tuple[Tensor, Scene, Tensor]]]]()

            def plan(take: int) -> None:
                seed = hash_seed(self.seed, take)
                plans.append((seed, pool.submit(self._plan, seed, frames_per_take)))

            for take in range(4 * threads):
                plan(take)
            take = entered = 0
            try:
                while True:
                    while entered < FIRST_PEOPLE + take // takes_a_person:
                        cast.append(self._admit(coming.popleft().result()))
                        coming.append(pool.submit(self._newcomer, int(rng.integers(people))))
                        entered += 1
                        if len(cast) > kept:
                            self._dismiss(cast.popleft(), cast)
                    seed, future = plans.popleft()
                    plan(take + 4 * threads)
                    motion, scene, backdrop = future.result()
                    who = cast[seed % len(cast)]
                    yield self.shoot(who, frames_per_take, seed, motion_FM=motion, scene=scene, backdrop=backdrop)
                    take += 1
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def hash_seed(*parts: int) -> int:
    """One number of several, below 2**31."""
    return int(np.random.SeedSequence([part % 2**32 for part in parts]).generate_state(1)[0] >> 1)


def scene_facts(scene: Scene) -> dict[str, object]:
    """What JSON can hold of a scene."""
    return {
        "backdrop": scene.backdrop,
        "focal_mm": round(scene.focal_mm, 2),
        "distance_cm": round(scene.distance_cm, 2),
        "lights": [{"direction": list(lamp.direction), "colour": list(lamp.colour)} for lamp in scene.lights],
        "noise": scene.noise,
        "jpeg_quality": scene.jpeg_quality,
        "scene_seed": scene.seed,
    }
