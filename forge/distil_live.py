"""Distil live motion: a student that draws each frame in one step, from what has been heard by then.

    python -m forge.distil_live MOTION.safetensors --data SEQUENCES -o RUN --time-budget-minutes 15

The teacher draws whole windows and has heard them to their end. It speaks many talks; the student walks through them
frame by frame as `forge.stream` does: it knows ten frames before as it drew them itself, the sound to the end of its
lookahead, and the noise ahead. It is to be where the teacher is and to move as the teacher moves. As it walks on its
own feet while it learns, its own errors are what it learns to mend (DAgger, arXiv 1011.0686).

Axes: B walkers of a batch, W all walkers, T frames, P context frames, K tokens of a live window, M motion features,
A audio features.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from forge.motion.chance import LATE_FRAMES, MOUTH, mouth_angles, noise_ahead
from forge.motion.controls import EMOTIONS, RANGES, Controls
from forge.motion.denoiser import Conditions
from forge.motion.diffusion import LAST_TIME
from forge.motion.features import NAMES
from forge.motion.listening import AUDIO_FEATURES
from forge.motion.sequences import MotionSequence
from forge.motion.windows import MotionModel, draw_departures
from forge.motion.wishes import Wish
from forge.train_motion import MotionRecipe, cooling, feature_weights, is_held_out, read_sequences, take_step
from provenance.files import write_whole

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LivePlan:
    """Everything that distillation for live talks depends on besides weights, data, seed and time."""

    stretches: tuple[int, ...] = (1, 4, 12)
    """Frames of noise behind each token of a live window."""
    talks: int = 700
    """Drawn by the teacher; each has its own wishes and seed."""
    walkers: int = 768
    """Talks that are walked through at a time; a batch is drawn from them, so that its frames are strangers."""
    batch: int = 64
    learning_rate: float = 3e-4
    ema: float = 0.998
    speed_weight: float = 2.0
    """Of the error of the step from the student's own last frame, beside the error of the place."""
    past_noise: float = 0.02
    """Deviation of noise on the past, beside the student's own errors."""
    mouth_gain: float = 1.2
    """Deviation of the teacher's lips over the student's, on 27 utterances: .073 / .060."""
    afresh: float = 0.02
    """Chance that a walker is set on the teacher's way anew, at another place."""

    def __post_init__(self) -> None:
        """Refuse plans without a frame to draw."""
        if not self.stretches or self.stretches[0] != 1 or min(self.stretches) < 1:
            raise ValueError(
                f"the first stretch is the frame itself, 1, and others are at least 1, got {self.stretches}"
            )
        if sum(self.stretches) > LATE_FRAMES + 1:
            raise ValueError(f"noise is known {LATE_FRAMES + 1} frames ahead, got stretches of {sum(self.stretches)}")
        if not 1 <= self.batch <= self.walkers:
            raise ValueError(f"a batch is drawn from the walkers, got {self.batch} of {self.walkers}")


@dataclass(frozen=True, eq=False)
class Talk:
    """What the teacher made of one sound."""

    audio_TA: Tensor
    motion_TM: Tensor
    """Standardised departures from the wish."""
    noise_TKM: Tensor
    """`chance.noise_ahead` of each frame."""
    gaze_2: Tensor
    log_scale: Tensor
    emotion_E: Tensor


def spoken_by(
    teacher: MotionModel, sequences: Sequence[MotionSequence], plan: LivePlan, random: np.random.Generator
) -> list[Talk]:
    """Talks of the teacher on the sounds of some sequences, under wishes of all kinds."""
    talks = []
    for number in random.choice(len(sequences), min(plan.talks, len(sequences)), replace=False):
        audio_TA = sequences[number].audio_TA
        assert audio_TA is not None
        controls = wishes_of_somebody(random)
        motion_TM = draw_departures(teacher, audio_TA, controls, steps=teacher.steps, guidance=teacher.guidance)
        rows = torch.from_numpy(audio_TA)
        angle_T = mouth_angles(torch.cat([rows, rows[-1:].expand(LATE_FRAMES, -1)]))
        reach = sum(plan.stretches)
        ahead = [noise_ahead(controls.seed, n, angle_T[n : n + reach], plan.stretches) for n in range(len(rows))]
        gaze, log_scale, emotion = Wish.of(controls).features()
        wish = (torch.from_numpy(gaze), torch.tensor(float(log_scale)), torch.from_numpy(emotion))
        talks.append(Talk(rows, motion_TM.clone(), torch.stack(ahead), *wish))
    return talks


def wishes_of_somebody(random: np.random.Generator) -> Controls:
    """Half of all people wish for nothing; the others for a gaze, a distance or an emotion anywhere in its range."""
    wishes: dict[str, float | str] = {}
    if random.random() < 0.5:
        names = ("gaze_yaw_degrees", "gaze_pitch_degrees", "distance", "emotion_strength")
        wishes = {name: float(random.uniform(*RANGES[name])) for name in names if random.random() < 0.5}
        wishes["emotion"] = str(random.choice(list(EMOTIONS)))
    return Controls(seed=int(random.integers(2**31)), **wishes)  # type: ignore[arg-type]


class Walkers:
    """Where each walker is, and what it drew on its way."""

    def __init__(self, talks: Sequence[Talk], plan: LivePlan, context: int, random: np.random.Generator) -> None:
        self.talks, self.plan, self.random = talks, plan, random
        self.talk_W = np.zeros(plan.walkers, np.int64)
        self.frame_W = np.zeros(plan.walkers, np.int64)
        self.past_WPM = torch.zeros((plan.walkers, context, len(NAMES)))
        for walker in range(plan.walkers):
            self.set_anew(walker)

    def set_anew(self, walker: int) -> None:
        """Put a walker on the way of a random talk, at its beginning or anywhere; the teacher's past is its own."""
        talk = int(self.random.integers(len(self.talks)))
        length = len(self.talks[talk].motion_TM)
        frame = 0 if self.random.random() < 0.2 else int(self.random.integers(length))
        self.talk_W[walker], self.frame_W[walker] = talk, frame
        self.past_WPM[walker] = _before(self.talks[talk].motion_TM, frame, self.past_WPM.shape[1])

    def batch(self) -> tuple[NDArrayInt, Tensor, Conditions, Tensor, Tensor]:
        """Some walkers: numbers, noise (B, K, M), conditions, where the teacher is and where it was (B, M)."""
        chosen_B = self.random.choice(self.plan.walkers, self.plan.batch, replace=False)
        rows = [(self.talks[self.talk_W[w]], int(self.frame_W[w])) for w in chosen_B]
        context, tokens = self.past_WPM.shape[1], len(self.plan.stretches)
        audio_BKA = torch.zeros((len(rows), tokens, AUDIO_FEATURES))
        audio_BKA[:, 0] = torch.stack([talk.audio_TA[n] for talk, n in rows])
        yes_B = torch.ones(len(rows), dtype=torch.bool)
        given = Conditions(
            audio_BTA=audio_BKA,
            heard_BT=(torch.arange(tokens) < 1).expand(len(rows), tokens),
            past_motion_BPM=self.past_WPM[chosen_B],
            past_audio_BPA=torch.stack([_before(talk.audio_TA, n, context) for talk, n in rows]),
            has_past_B=torch.tensor([n > 0 for _, n in rows]),
            gaze_B2=torch.stack([talk.gaze_2 for talk, _ in rows]),
            has_gaze_B=yes_B,
            distance_B=torch.stack([talk.log_scale for talk, _ in rows]),
            has_distance_B=yes_B,
            emotion_BE=torch.stack([talk.emotion_E for talk, _ in rows]),
            has_emotion_B=yes_B,
            manner_B=torch.zeros(len(rows)),
            has_manner_B=yes_B,
        )
        here_BM = torch.stack([talk.motion_TM[n] for talk, n in rows])
        before_BM = torch.stack([talk.motion_TM[max(0, n - 1)] for talk, n in rows])
        return chosen_B, torch.stack([talk.noise_TKM[n] for talk, n in rows]), given, here_BM, before_BM

    def move(self, chosen_B: NDArrayInt, drawn_BM: Tensor) -> None:
        """Go one frame on with what was drawn."""
        self.past_WPM[chosen_B] = torch.cat([self.past_WPM[chosen_B][:, 1:], drawn_BM[:, None]], dim=1)
        self.frame_W[chosen_B] += 1
        for walker in chosen_B:
            at_end = self.frame_W[walker] >= len(self.talks[self.talk_W[walker]].motion_TM)
            if at_end or self.random.random() < self.plan.afresh:
                self.set_anew(int(walker))


NDArrayInt = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def _before(values_TX: Tensor, frame: int, count: int) -> Tensor:
    """(count, X) the rows before a frame; zeros before the first, as in a talk that has just begun."""
    known = values_TX[max(0, frame - count) : frame]
    return torch.cat([values_TX.new_zeros((count - len(known), values_TX.shape[1])), known])


class LiveDistiller:
    """The state of a run."""

    def __init__(
        self, teacher: MotionModel, talks: Sequence[Talk], plan: LivePlan, seed: int, student: MotionModel | None = None
    ) -> None:
        self.plan, self.teacher = plan, teacher
        begun = (student or teacher).network
        self.generator = torch.Generator().manual_seed(seed)
        self.walkers = Walkers(talks, plan, teacher.network.shape.context, np.random.default_rng(seed))
        self.student = copy.deepcopy(begun).train()
        self.running = copy.deepcopy(begun).eval()
        self.optimiser = torch.optim.AdamW(self.student.parameters(), plan.learning_rate, weight_decay=0.0)
        self.weight_M = feature_weights(MotionRecipe("live", shape=teacher.network.shape))
        self.step = 0

    def learn(self, progress: float) -> dict[str, float]:
        """One frame of a batch of walkers: the loss, and the mean squared error of the mouth and of the rest."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.learning_rate * min(1.0, (self.step + 1) / 50) * cooling(progress)
        chosen_B, noise_BKM, given, here_BM, before_BM = self.walkers.batch()
        past_BPM, has_past_B1 = given.past_motion_BPM, given.has_past_B[:, None]
        shaken = self.plan.past_noise * torch.randn(past_BPM.shape, generator=self.generator)
        given = replace(given, past_motion_BPM=(past_BPM + shaken) * has_past_B1[:, None])
        time_B = torch.full((len(here_BM),), LAST_TIME)
        drawn_BM = self.student(noise_BKM, time_B, given)[:, 0]
        miss_BM = drawn_BM - here_BM
        # as far as the student's own last frame was off, it may be off still: a jump back would be seen
        pace_BM = (miss_BM - (past_BPM[:, -1] - before_BM)) * has_past_B1
        loss = (miss_BM.square() * self.weight_M).mean()
        loss = loss + self.plan.speed_weight * (pace_BM.square() * self.weight_M).mean()
        if not torch.isfinite(loss):
            raise ValueError(f"distillation broke at step {self.step}: the loss is {loss.item()}; lower the rate")
        mean = self.running.state_dict()
        self.step = take_step(self.student, self.optimiser, loss, mean, ema=self.plan.ema, step=self.step)
        self.walkers.move(chosen_B, drawn_BM.detach())
        squared_M = miss_BM.detach().square().mean(dim=0)
        lives = ~MOUTH & (self.weight_M > 0)
        return {
            "loss": float(loss.detach()),
            "mouth": float(squared_M[MOUTH].mean()),
            "rest": float(squared_M[lives].mean()),
        }

    def averaged(self) -> MotionModel:
        """The student with the running mean of its weights."""
        plan = self.plan
        live = replace(self.teacher, network=self.running, folded_steps=1, stretches=plan.stretches)
        return replace(live, mouth_gain=plan.mouth_gain)


def distil_live(
    teacher: MotionModel,
    data: Path,
    out: Path,
    plan: LivePlan,
    *,
    student: MotionModel | None = None,
    seed: int = 0,
    time_budget_minutes: float,
) -> LiveDistiller:
    """Distil until the time is used up, the teacher's talks included; RUN gets `motion_live.safetensors`, `log.jsonl`.

    Args:
        teacher: draws whole windows.
        data: folder of sequences; their sound is what the teacher speaks.
        out: RUN.
        plan: how.
        student: weights to go on from; default: the teacher's.
        seed: of talks, walkers and noise.
        time_budget_minutes: for everything.

    Raises:
        ValueError: in one line, for unusable data.
    """
    began = time.monotonic()
    heard = [s for s in read_sequences(data) if s.audio_TA is not None and not is_held_out(s.speaker)]
    if not heard:
        raise ValueError(
            f"{data}: no sequence with sound is left to learn from; add speakers (every tenth is held out)"
        )
    talks = spoken_by(teacher, heard, plan, np.random.default_rng(seed))
    log.info("%d talks of the teacher, %d frames", len(talks), sum(len(talk.motion_TM) for talk in talks))
    distiller = LiveDistiller(teacher, talks, plan, seed, student)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "distillation.json", (json.dumps(asdict(plan), indent=1) + "\n").encode())
    found: list[dict[str, float]] = []
    with (out / "log.jsonl").open("a") as lines:
        while True:
            spent = (time.monotonic() - began) / 60
            if spent >= time_budget_minutes and distiller.step:
                break
            found.append(distiller.learn(min(1.0, spent / max(time_budget_minutes, 1e-9))))
            if distiller.step % 100 == 0:
                means = {name: round(float(np.mean([f[name] for f in found])), 5) for name in found[0]}
                found.clear()
                facts = {"step": distiller.step, **means, "minutes": round(spent, 2)}
                log.info("%s", json.dumps(facts))
                lines.write(json.dumps(facts) + "\n")
                lines.flush()
                distiller.averaged().save(out / "motion_live.safetensors")
    distiller.averaged().save(out / "motion_live.safetensors")
    return distiller


def main(arguments: list[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m forge.distil_live", description=__doc__)
    parser.add_argument("teacher", type=Path, help="motion.safetensors, distilled or not")
    parser.add_argument("--data", type=Path, required=True, help="folder of forge.motion.sequences")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--student", type=Path, help="motion_live.safetensors of an earlier run to go on from")
    parser.add_argument("--talks", type=int, default=LivePlan.talks, help="that the teacher speaks")
    parser.add_argument("--time-budget-minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    try:
        teacher = MotionModel.load(args.teacher)
        student = MotionModel.load(args.student) if args.student else None
        minutes, plan = args.time_budget_minutes, LivePlan(talks=args.talks)
        distil_live(teacher, args.data, args.out, plan, student=student, seed=args.seed, time_budget_minutes=minutes)
    except ValueError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
