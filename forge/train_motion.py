"""Train the motion network: windows of motion and sound, noise, and the network's guess of what was there before it.

    python -m forge.train_motion motion_cpu --data SEQUENCES -o RUN --time-budget-minutes 60 [--resume RUN]

Data is a folder of `forge.motion.sequences`. Every tenth speaker is held out and scored. RUN gets `motion.safetensors`
(running mean of the weights), `state.pt` (to go on from), `log.jsonl` and the recipe.
Conditions are dropped as in VASA-1: each with 0.1, the past with 0.5, the end of the sound at random.

Axes: B batch, T frames of a window, P context frames, M motion features, A audio features.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from forge.motion.controls import EMOTIONS
from forge.motion.denoiser import Conditions, DenoiserShape, MotionDenoiser
from forge.motion.diffusion import mixed
from forge.motion.features import FREE_NAMES, INDEX, NAMES
from forge.motion.listening import AUDIO_FEATURES
from forge.motion.sequences import MotionSequence
from forge.motion.windows import MotionModel
from forge.motion.wishes import EYE_LOOKS, Wish, departure
from provenance.files import write_whole

log = logging.getLogger(__name__)

LEAST_DEVIATION = 0.02
"""Features that hardly ever move are not blown up to the size of the others."""
HELD_OUT = 10
"""One speaker in so many only scores."""


@dataclass(frozen=True)
class MotionRecipe:
    """Everything that training depends on besides data, seed and time."""

    name: str
    shape: DenoiserShape = field(default_factory=DenoiserShape)
    batch: int = 32
    steps: int = 40_000
    learning_rate: float = 4e-4
    warm_up: int = 300
    ema: float = 0.999
    tracked_share: float = 0.35
    """Of each batch, from real faces: they alone know how eyes, brows and heads live; spoken ones know lips."""
    drop: float = 0.1
    mirror: float = 0.5
    """Chance that a window is seen in a mirror: left and right of the face change places."""
    drop_past: float = 0.5
    tail: float = 0.3
    """Chance that the end of the sound is hidden."""
    past_noise: float = 0.05
    """Deviation of noise on the past: in use, the past is drawn by the network and not quite true."""
    speed_weight: float = 2.0
    """Of the error of changes from frame to frame, beside that of the motion itself."""
    lip_weight: float = 2.0
    lid_weight: float = 3.0
    """Blinks are rare and short."""
    device: str = "cpu"


def motion_cpu() -> MotionRecipe:
    """Two cores and an hour or two."""
    return MotionRecipe("motion_cpu", shape=DenoiserShape(width=128, layers=6, heads=4), batch=24, learning_rate=8e-4)


def motion_gpu() -> MotionRecipe:
    """One GPU, ten minutes: wider and with larger batches."""
    return replace(
        motion_cpu(),
        name="motion_gpu",
        shape=DenoiserShape(width=320, layers=8),
        batch=256,
        learning_rate=6e-4,
        device="cuda",
    )


def motion_tiny() -> MotionRecipe:
    """Seconds: for tests, not for use."""
    shape = DenoiserShape(width=32, layers=2, heads=2, context=4, window=12)
    return replace(motion_cpu(), name="motion_tiny", shape=shape, batch=8, steps=60, warm_up=5, ema=0.9)


RECIPES: dict[str, Callable[[], MotionRecipe]] = {f.__name__: f for f in (motion_cpu, motion_gpu, motion_tiny)}


def is_held_out(speaker: str) -> bool:
    """Whether a speaker only scores; decided by the name, so it never changes."""
    return int(sha256(speaker.encode()).hexdigest()[:8], 16) % HELD_OUT == 0


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows with what steers them."""

    motion_BTM: Tensor
    known_BT: Tensor
    """bool: False beyond the end of a sequence."""
    conditions: Conditions


def scale_of(sequences: Sequence[MotionSequence], tracked_share: float) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each feature's departure from what is asked, both sources weighted as they are drawn."""
    moments = []
    for source, share in (("tracked", tracked_share), ("spoken", 1.0 - tracked_share)):
        rows = [departure(s.motion_TM, Wish.met_by(s.motion_TM, s.emotion)) for s in sequences if s.source == source]
        if rows:
            frames = np.concatenate(rows).astype(np.float64)
            moments.append((share, frames.mean(axis=0), np.square(frames).mean(axis=0)))
    total = sum(share for share, _, _ in moments)
    mean = sum(share * m for share, m, _ in moments) / total
    power = sum(share * p for share, _, p in moments) / total
    deviation = np.maximum(np.sqrt(np.maximum(power - mean**2, 0.0)), LEAST_DEVIATION)
    return torch.from_numpy(np.asarray(mean, np.float32)), torch.from_numpy(np.asarray(deviation, np.float32))


def draw_batch(
    sequences: Sequence[MotionSequence], model: MotionModel, recipe: MotionRecipe, random: np.random.Generator
) -> Batch:
    """Random windows; a source without sequences leaves its share to the other."""
    shape = recipe.shape
    pools = {kind: [s for s in sequences if s.source == kind] for kind in ("tracked", "spoken")}
    rows = []
    for _ in range(recipe.batch):
        wanted = "tracked" if random.random() < recipe.tracked_share else "spoken"
        pool = pools[wanted] or pools["spoken"] or pools["tracked"]
        sequence = pool[int(random.integers(len(pool)))]
        row = _window(sequence, int(random.integers(0, max(1, sequence.length - shape.window + 1))), shape)
        rows.append(in_a_mirror(row) if random.random() < recipe.mirror else row)
    motion, known, past, past_known, audio, past_audio, heard, gaze, distance, emotion, has_emotion, manner = (
        torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)
    )
    yes = torch.ones(len(rows), dtype=torch.bool)
    conditions = Conditions(
        audio_BTA=audio,
        heard_BT=heard,
        past_motion_BPM=model.standardised(past) * past_known[..., None],
        past_audio_BPA=past_audio,
        has_past_B=past_known[:, -1] > 0,
        gaze_B2=gaze,
        has_gaze_B=yes,
        distance_B=distance,
        has_distance_B=yes,
        emotion_BE=emotion,
        has_emotion_B=has_emotion,
        manner_B=manner,
        has_manner_B=yes,
    )
    return Batch(model.standardised(motion), known, conditions)


def _other_side(name: str) -> str:
    """The feature that this one becomes in a mirror."""
    return name[:-4] + "Right" if name.endswith("Left") else name[:-5] + "Left" if name.endswith("Right") else name


def _window(sequence: MotionSequence, start: int, shape: DenoiserShape) -> tuple[np.ndarray, ...]:
    """One window and its conditions as arrays, padded where the sequence ends."""
    stop = min(start + shape.window, sequence.length)
    wish = Wish.met_by(sequence.motion_TM[start:stop], sequence.emotion)
    motion = departure(sequence.motion_TM, wish)
    audio = np.zeros((sequence.length, AUDIO_FEATURES), np.float32) if sequence.audio_TA is None else sequence.audio_TA

    def padded(values: np.ndarray, first: int, last: int, length: int, *, at_end: bool) -> np.ndarray:
        missing = length - (last - first)
        edge = values[last - 1 : last] if at_end else values[:1]
        fill = np.repeat(edge, missing, axis=0)
        return np.concatenate([values[first:last], fill] if at_end else [fill, values[first:last]])

    before = (max(0, start - shape.context), start)
    # the first frames of a clip have a shorter past; what is missing is zero, as it is when a clip is drawn
    past_known = (np.arange(shape.context) >= shape.context - start).astype(np.float32)
    gaze, log_scale, emotion = wish.features()
    return (
        padded(motion, start, stop, shape.window, at_end=True),
        np.arange(shape.window) < stop - start,
        padded(motion, *before, shape.context, at_end=False),
        past_known,
        padded(audio, start, stop, shape.window, at_end=True),
        padded(audio, *before, shape.context, at_end=False) * past_known[:, None],
        np.full(shape.window, sequence.audio_TA is not None),
        gaze,
        np.asarray(log_scale),
        emotion,
        np.asarray(sequence.emotion is not None),
        np.asarray(sequence.source == "tracked", np.float32),
    )


_SWAPPED = [INDEX[_other_side(name)] for name in NAMES]
_MIRROR_SIGN = np.array([-1.0 if n in ("yaw", "roll", "shift_x", "gaze_yaw") else 1.0 for n in NAMES], np.float32)
GAZE_PLACE, EMOTION_PLACE = 7, 9
"""Where a window's tuple holds the gaze and the emotion."""


def in_a_mirror(row: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """A window of `_window` with left and right exchanged; contempt, which has a side, stays as it is."""
    if row[EMOTION_PLACE][list(EMOTIONS).index("contempt")] > 0:
        return row
    out = list(row)
    for place in (0, 2):
        out[place] = row[place][:, _SWAPPED] * _MIRROR_SIGN
    out[GAZE_PLACE] = row[GAZE_PLACE] * np.array([-1.0, 1.0], np.float32)
    return tuple(out)


def feature_weights(recipe: MotionRecipe) -> Tensor:
    """(M,) weight of each feature's error: lips and lids count more, what is not drawn not at all."""
    weight = torch.ones(len(NAMES))
    weight[[i for name, i in INDEX.items() if name.startswith(("jaw", "mouth"))]] = recipe.lip_weight
    weight[[i for name, i in INDEX.items() if name.startswith("eyeBlink")]] = recipe.lid_weight
    weight[[INDEX[name] for name in FREE_NAMES] + EYE_LOOKS] = 0.0
    return weight / weight.mean()


def loss_of(network: nn.Module, batch: Batch, time_B: Tensor, noise_BTM: Tensor, recipe: MotionRecipe) -> Tensor:
    """Mean squared error of the predicted clean motion and of its changes from frame to frame."""
    weight_M = feature_weights(recipe).to(noise_BTM.device)
    guess_BTM = network(mixed(batch.motion_BTM, noise_BTM, time_B), time_B, batch.conditions)
    miss_BTM = (guess_BTM - batch.motion_BTM) * batch.known_BT[..., None]
    speed_BTM = miss_BTM[:, 1:] - miss_BTM[:, :-1]
    share = batch.known_BT.float().mean()
    loss: Tensor = (
        (miss_BTM.square() * weight_M).mean() + recipe.speed_weight * (speed_BTM.square() * weight_M).mean()
    ) / share
    return loss


def cooling(progress: float) -> float:
    """Share of the learning rate at `progress` in [0, 1]: a cosine from 1 down to a twentieth."""
    return 0.525 + 0.475 * float(np.cos(np.pi * progress))


def take_step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    loss: Tensor,
    running: Mapping[str, Tensor],
    *,
    ema: float,
    step: int,
) -> int:
    """Go one step down the slope of a loss, and let the running mean of the weights (in place) follow.

    Returns:
        Number of steps taken, `step` before this one.
    """
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    step += 1
    keep = min(ema, (1 + step) / (10 + step))
    with torch.no_grad():
        for name, value in network.state_dict().items():
            running[name].lerp_(value, 1.0 - keep)
    return step


class Trainer:
    """The state of a run."""

    def __init__(self, recipe: MotionRecipe, sequences: Sequence[MotionSequence], seed: int) -> None:
        torch.manual_seed(seed)
        self.recipe, self.random = recipe, np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.taught = [s for s in sequences if not is_held_out(s.speaker)]
        self.held = [s for s in sequences if is_held_out(s.speaker)]
        if not self.taught:
            raise ValueError("no sequence is left to train on; add speakers (every tenth is held out)")
        mean_M, deviation_M = scale_of(self.taught, recipe.tracked_share)
        self.model = MotionModel(MotionDenoiser(recipe.shape), mean_M, deviation_M)
        self.running = {name: value.detach().clone() for name, value in self.model.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.model.network.parameters(), recipe.learning_rate, weight_decay=0.01)
        self.step = 0

    def learn(self, progress: float) -> float:
        """One step; `progress` in [0, 1] sets the rate (warm-up, then a cosine down to a twentieth)."""
        recipe, network = self.recipe, self.model.network
        rate = min(1.0, (self.step + 1) / recipe.warm_up) * cooling(progress)
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * rate
        batch = draw_batch(self.taught, self.model, recipe, self.random)
        chances = dict.fromkeys(("audio", "gaze", "distance", "emotion", "manner"), recipe.drop) | {
            "past": recipe.drop_past
        }
        given = batch.conditions.dropped(chances, self.generator, recipe.tail)
        shaken = recipe.past_noise * torch.randn(given.past_motion_BPM.shape, generator=self.generator)
        given = replace(given, past_motion_BPM=given.past_motion_BPM + shaken * given.has_past_B.view(-1, 1, 1))
        batch = replace(batch, conditions=given)
        time_B = torch.rand(recipe.batch, generator=self.generator)
        noise_BTM = torch.randn(batch.motion_BTM.shape, generator=self.generator)
        batch, time_B, noise_BTM = _moved(batch, time_B, noise_BTM, recipe.device)
        network.train()
        loss = loss_of(network, batch, time_B, noise_BTM, recipe)
        if not torch.isfinite(loss):
            raise ValueError(f"training broke at step {self.step}: the loss is {float(loss)}; lower the learning rate")
        self.step = take_step(network, self.optimiser, loss, self.running, ema=recipe.ema, step=self.step)
        return float(loss.detach())

    @torch.no_grad()
    def score(self, batches: int = 8) -> float:
        """Mean loss of the running weights over held-out speakers with all conditions given; NaN without any."""
        if not self.held:
            return float("nan")
        network = self.averaged().network.eval()
        random, generator = np.random.default_rng(1), torch.Generator().manual_seed(1)
        losses = []
        for _ in range(batches):
            batch = draw_batch(self.held, self.model, self.recipe, random)
            time_B = torch.rand(self.recipe.batch, generator=generator)
            noise_BTM = torch.randn(batch.motion_BTM.shape, generator=generator)
            moved = _moved(batch, time_B, noise_BTM, self.recipe.device)
            losses.append(float(loss_of(network, *moved, self.recipe)))
        return float(np.mean(losses))

    def averaged(self) -> MotionModel:
        """The model with the running mean of its weights."""
        network = MotionDenoiser(self.recipe.shape)
        network.load_state_dict(self.running)
        return MotionModel(network.to(self.recipe.device), self.model.mean_M, self.model.deviation_M)

    def save(self, out: Path) -> None:
        """Weights for use, and the state to go on from."""
        self.averaged().save(out / "motion.safetensors")
        state = {"network": self.model.network.state_dict(), "running": self.running, "step": self.step}
        state |= {
            "optimiser": self.optimiser.state_dict(),
            "mean": self.model.mean_M,
            "deviation": self.model.deviation_M,
        }
        store = io.BytesIO()
        torch.save(state, store)
        write_whole(out / "state.pt", store.getvalue())

    def resume(self, run: Path) -> None:
        """Go on from `save`.

        Raises:
            ValueError: in one line, when the folder holds no state of this recipe.
        """
        try:
            state = torch.load(run / "state.pt", weights_only=True)
            self.model.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(f"{run}: no state to go on from ({first}); give the folder of a run") from None
        self.running, self.step = state["running"], int(state["step"])
        self.model = MotionModel(self.model.network, state["mean"], state["deviation"])


def _moved(batch: Batch, time_B: Tensor, noise_BTM: Tensor, device: str) -> tuple[Batch, Tensor, Tensor]:
    """Everything on the device of the network."""
    given = Conditions(**{name: tensor.to(device) for name, tensor in vars(batch.conditions).items()})
    return Batch(batch.motion_BTM.to(device), batch.known_BT.to(device), given), time_B.to(device), noise_BTM.to(device)


def read_sequences(folder: Path) -> list[MotionSequence]:
    """Every sequence of a folder, in order of name.

    Raises:
        ValueError: in one line, when there is none or one is damaged.
    """
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise ValueError(f"{folder}: holds no motion sequences; make some with python -m forge.motion.sequences")
    return [MotionSequence.load(file) for file in files]


def train_motion(
    recipe: MotionRecipe,
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    time_budget_minutes: float | None = None,
    resume: Path | None = None,
    save_minutes: float = 4.0,
) -> Trainer:
    """Train until the recipe's steps or the time are used up.

    Raises:
        ValueError: in one line, for unusable data or state.
    """
    trainer = Trainer(recipe, read_sequences(data), seed)
    if resume is not None:
        trainer.resume(resume)
    trainer.model = replace(trainer.model, network=trainer.model.network.to(recipe.device))
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "recipe.json", (json.dumps(asdict(recipe), indent=1) + "\n").encode())
    began = saved = time.monotonic()
    losses: list[float] = []
    with (out / "log.jsonl").open("a") as lines:
        while trainer.step < recipe.steps:
            spent = (time.monotonic() - began) / 60
            progress = trainer.step / recipe.steps
            if time_budget_minutes is not None:
                if spent >= time_budget_minutes:
                    break
                progress = max(progress, spent / time_budget_minutes)
            losses.append(trainer.learn(min(progress, 1.0)))
            if trainer.step % 100 == 0:
                facts = {"step": trainer.step, "loss": round(float(np.mean(losses)), 5), "minutes": round(spent, 2)}
                losses.clear()
                if trainer.step % 500 == 0:
                    facts["held_out"] = round(trainer.score(), 5)
                log.info("%s", json.dumps(facts))
                lines.write(json.dumps(facts) + "\n")
                lines.flush()
            if time.monotonic() - saved > 60 * save_minutes:
                trainer.save(out)
                saved = time.monotonic()
    trainer.save(out)
    return trainer


def main(arguments: list[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m forge.train_motion", description=__doc__)
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, required=True, help="folder of forge.motion.sequences")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--time-budget-minutes", type=float)
    parser.add_argument("--resume", type=Path, help="folder of an earlier run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cpu or cuda; default: the recipe's")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    recipe = RECIPES[args.recipe]()
    if args.device:
        recipe = replace(recipe, device=args.device)
    try:
        train_motion(
            recipe,
            args.data,
            args.out,
            seed=args.seed,
            time_budget_minutes=args.time_budget_minutes,
            resume=args.resume,
        )
    except ValueError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
