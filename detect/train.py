"""Train a detector: catalog -> prepared crops -> pairs -> network -> motion branch -> fusion -> calibrated weights.

    train(recipe_named("frame_cpu"), catalog, root, Path("runs/first"), minutes=60)

The rules of a fair training, told once:

1. Only samples of the training split (or without a split) are touched. Of these, whole makers and whole people are held
   out: they choose the checkpoint, the calibration and the threshold, and teach nothing.
2. A batch holds pairs: a real picture and a forgery of the same size through the *same* treatment (scaler, lens,
   codec).
   The motion branch learns from pairs too: moments of real clips and their forgeries in time (`detect.lessons`).
3. People are drawn evenly, then their clips; makers are drawn evenly, then people. A talkative source does not
   weigh more.
4. The weights that are kept are the running mean at the step that best told held-out people's pictures from forgeries
   of them: what the network is taught. Where synthetic clips teach it, too, held-out makers count for half.
5. Probability and threshold are fitted on scores of clips whose maker or person the branches were fitted without.

A network that is trained already can be kept (`network=`): then only the branches, the fusion, the probability and the
threshold are fitted. Or training starts from it (`start=`).
"""

from __future__ import annotations

import copy
import io
import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as packed_tensors
from torch import Tensor
from torch.nn import functional

from detect.describing import Origin, describe, write_detector
from detect.detector import DetectError, Status
from detect.lessons import Lesson, lessons_of
from detect.metrics import roc_auc
from detect.models.frame import FrameDetector
from detect.models.network import FrameNet, network_crop, start_from_imagenet, to_batch
from detect.prepare import FaceLook, cache_key, load_look, prepare
from detect.pseudo import Rng, Treatment, forge
from detect.recipes import TrainRecipe
from detect.report import make_folder, write_whole
from detect.sampling import spread_indices
from detect.splitting import Prepared, Split, split_for_going_on, split_for_training, split_of_network
from detect.telling import Say, silent
from media.catalog import Catalog
from media.clip import FloatArray, UInt8Array
from media.places import Place

LABEL_ORDER = (0.0, 1.0)
CHECKED_BATCHES = 10
"""Pictures of held-out people, each beside a forgery of it, that choose the checkpoint: always the same ones."""


class PairSource:
    """Draws real pictures and forgeries of them; see rules 2 and 3 of the module."""

    def __init__(self, teach: Sequence[Prepared], recipe: TrainRecipe) -> None:
        """Index samples by person and maker."""
        self.recipe = recipe
        self._stills: dict[str, list[FaceLook]] = defaultdict(list)
        self._clips: dict[str, list[FaceLook]] = defaultdict(list)
        self._synthetic: dict[str, dict[str, list[FaceLook]]] = defaultdict(lambda: defaultdict(list))
        for s in teach:
            if s.synthetic:
                self._synthetic[s.maker][s.person].append(s.face)
            else:
                (self._stills if len(s.face.seconds) == 1 else self._clips)[s.person].append(s.face)

    def real(self, rng: Rng) -> tuple[UInt8Array, FloatArray]:
        """A crop of a real face and its landmarks."""
        stills = bool(self._stills) and (not self._clips or rng.random() < self.recipe.still_share)
        return _drawn(_any(_any(self._stills if stills else self._clips, rng), rng), rng)

    def pair(self, rng: Rng) -> tuple[UInt8Array, UInt8Array]:
        """A real picture and a forgery, equally treated, as the network takes them."""
        image, landmarks = self.real(rng)
        if self._synthetic and rng.random() < self.recipe.synthetic_share:
            other, _ = _drawn(_any(_any(_any(self._synthetic, rng), rng), rng), rng)
        else:
            other = forge(image, landmarks, rng, self.recipe.blend_share)
        treatment = Treatment.draw(rng, self.recipe.sides)
        turn, zoom = float(rng.uniform(-8, 8)), float(rng.uniform(0.92, 1.08))
        shift = (float(rng.uniform(-0.04, 0.04)), float(rng.uniform(-0.04, 0.04)))
        mirror = rng.random() < 0.5
        pictures = []
        for picture in (image, other):
            treated = treatment.apply(picture, picture.shape[0])
            seen = network_crop(treated, self.recipe.size, turn_degrees=turn, zoom=zoom, shift=shift)
            pictures.append(np.ascontiguousarray(seen[:, ::-1]) if mirror else seen)
        return pictures[0], pictures[1]

    def batch(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """(2P, 3, H, W) pictures, the real ones first, and (2P,) smoothed labels."""
        pairs = [self.pair(rng) for _ in range(self.recipe.pairs)]
        images = to_batch([real for real, _ in pairs] + [forged for _, forged in pairs])
        label = torch.tensor(LABEL_ORDER).repeat_interleave(len(pairs))
        smooth = self.recipe.label_smoothing
        return images, label * (1 - 2 * smooth) + smooth


def _any(values: Any, rng: Rng) -> Any:
    items = list(values.values()) if isinstance(values, Mapping) else values
    return items[int(rng.integers(len(items)))]


def _drawn(face: FaceLook, rng: Rng) -> tuple[UInt8Array, FloatArray]:
    n = int(rng.integers(len(face.crops)))
    return face.crops[n], face.landmarks[n]


@dataclass
class Progress:
    """Where a training stands; everything that `--resume` needs besides tensors."""

    step: int = 0
    best_step: int = -1
    best_auc: float = -1.0
    seconds: float = 0.0


def network_logits(network: FrameNet, face: FaceLook, size: int, most: int = 8) -> NDArray[np.float64]:
    """Logits of at most so many evenly spread looks."""
    chosen = spread_indices(len(face.crops), most)
    with torch.inference_mode():
        device = next(network.parameters()).device
        batch = to_batch([network_crop(face.crops[i], size) for i in chosen]).to(device)
        return np.asarray(network(batch).double().cpu().numpy(), np.float64)


def _auc_on_pairs(network: FrameNet, pictures: Sequence[UInt8Array]) -> float:
    """Of pictures, the first half of them real."""
    half = len(pictures) // 2
    device = next(network.parameters()).device
    with torch.inference_mode():
        parts = [to_batch(list(pictures[i : i + 24])).to(device) for i in range(0, len(pictures), 24)]
        logits = torch.cat([network(part) for part in parts]).double().cpu().tolist()
    return roc_auc([False] * half + [True] * half, logits)


def _auc_on(network: FrameNet, check: Sequence[Prepared], size: int) -> float:
    labels = [s.synthetic for s in check]
    return roc_auc(labels, [float(network_logits(network, s.face, size, 4).mean()) for s in check])


class Trainer:
    """The loop over batches with its checkpoints; see `train` for the whole."""

    def __init__(
        self, recipe: TrainRecipe, split: Split, folder: Path, seed: int, say: Say, start: FrameNet | None = None
    ) -> None:
        """A network at its start: the given one, ImageNet's or, for a recipe without, a random one.

        Raises:
            DetectError: when the recipe's device or ImageNet weights are missing.
        """
        if recipe.device == "cuda" and not torch.cuda.is_available():
            raise DetectError(f"recipe {recipe.name} needs a CUDA GPU and there is none; use frame_cpu")
        torch.manual_seed(seed)
        self.recipe, self.split, self.folder, self.seed, self.say = recipe, split, folder, seed, say
        self.network = FrameNet()
        if start is not None:
            self.network.load_state_dict(start.state_dict())
        elif recipe.imagenet:
            start_from_imagenet(self.network)
        if recipe.imagenet:
            self.network.freeze_lower()
        self.network = self.network.to(recipe.device).to(memory_format=torch.channels_last)
        self.mean = copy.deepcopy(self.network).eval()
        self.optimizer = torch.optim.AdamW(self._groups(), weight_decay=recipe.weight_decay)
        self.progress = Progress()
        self._checked = self._pairs_of_others()

    def _pairs_of_others(self) -> list[UInt8Array]:
        """Pictures of the held-out people, then forgeries of them; none when there are no such people."""
        real = [s for s in self.split.check if not s.synthetic]
        if not real:
            return []
        source, rng = PairSource(real, self.recipe), np.random.default_rng((self.seed, 0, 1))
        pairs = [source.pair(rng) for _ in range(CHECKED_BATCHES * self.recipe.pairs)]
        return [a for a, _ in pairs] + [b for _, b in pairs]

    def _groups(self) -> list[dict[str, Any]]:
        head = [p for n, p in self.network.named_parameters() if n.startswith("head")]
        body = [p for n, p in self.network.named_parameters() if p.requires_grad and not n.startswith("head")]
        return [{"params": head, "base": self.recipe.head_rate}, {"params": body, "base": 1.0}]

    def run(self, minutes: float) -> None:
        """Train until the time or the steps are used up; always ends with a checkpoint and a best network."""
        started, before = time.monotonic(), self.progress.seconds
        source = PairSource(self.split.teach, self.recipe)
        while self.progress.step < self.recipe.max_steps:
            self.progress.seconds = before + time.monotonic() - started
            share = max(self.progress.seconds / (60 * minutes), self.progress.step / self.recipe.max_steps)
            if share >= 1.0:
                break
            loss = self._step(source, share)
            if self.progress.step % self.recipe.evaluate_every == 0:
                self._look(loss)
        self._look(float("nan"))

    def _step(self, source: PairSource, share: float) -> float:
        step = self.progress.step
        # seeded by the step: a resumed run draws what an uninterrupted one would have drawn
        images, labels = source.batch(np.random.default_rng((self.seed, step)))
        rate = self.recipe.learning_rate * min(1.0, (step + 1) / 40) * (0.5 + 0.5 * float(np.cos(np.pi * share)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["base"]
        self.network.train_upper() if self.recipe.imagenet else self.network.train()
        logits = self.network(images.to(self.recipe.device))
        loss = functional.binary_cross_entropy_with_logits(logits, labels.to(self.recipe.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.progress.step += 1
        keep = min(self.recipe.ema, (1 + self.progress.step) / (10 + self.progress.step))
        with torch.no_grad():
            for mean, now in zip(self.mean.state_dict().values(), self.network.state_dict().values(), strict=True):
                mean.lerp_(now, 1 - keep) if mean.dtype.is_floating_point else mean.copy_(now)
        return float(loss.detach())

    def _look(self, loss: float) -> None:
        makers = _auc_on(self.mean, self.split.check, self.recipe.size)
        pairs = _auc_on_pairs(self.mean, self._checked) if self._checked else float("nan")
        auc = self._chosen_by(makers, pairs)
        p = self.progress
        line = {"step": p.step, "seconds": round(p.seconds, 1), "loss": round(loss, 4)}
        line |= {"held_out_auc": round(makers, 4), "held_out_pairs_auc": round(pairs, 4)}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.say(
            f"step {p.step}: loss {loss:.3f}, AUC on forgeries of held-out people {pairs:.3f}, "
            f"on held-out makers {makers:.3f}"
        )
        # a nan (one label only among the held-out) keeps the newest
        if not auc <= p.best_auc:
            p.best_auc, p.best_step = auc, p.step
            best = {k: v.contiguous() for k, v in self.mean.state_dict().items()}
            write_whole(packed_tensors(best), self.folder / "best.safetensors")
        self.save()

    def _chosen_by(self, makers: float, pairs: float) -> float:
        """The figure that chooses the checkpoint, of two that may be nan; see rule 4 of the module."""
        if isnan(pairs) or isnan(makers):
            return makers if isnan(pairs) else pairs
        return pairs if self.recipe.synthetic_share == 0 else (makers + pairs) / 2

    def save(self) -> None:
        """A checkpoint to go on from."""
        state = {"network": self.network.state_dict(), "mean": self.mean.state_dict()}
        packed = io.BytesIO()
        torch.save({**state, "optimizer": self.optimizer.state_dict(), "progress": vars(self.progress)}, packed)
        write_whole(packed.getvalue(), self.folder / "checkpoint.pt")

    def resume(self) -> None:
        """Go on from the folder's checkpoint when there is one."""
        file = self.folder / "checkpoint.pt"
        if not file.is_file():
            return
        state = torch.load(file, map_location=self.recipe.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.mean.load_state_dict(state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        self.say(f"going on from step {self.progress.step}")

    def best(self) -> FrameNet:
        """The network that was best on the held-out makers and people."""
        from safetensors.torch import load_file

        network = FrameNet()
        network.load_state_dict(load_file(self.folder / "best.safetensors"))
        return network.eval().to(memory_format=torch.channels_last)


def prepared_samples(
    catalog: Catalog, root: Path, cache: Path, recipe: TrainRecipe, say: Say = silent, place: Place | None = None
) -> tuple[Prepared, ...]:
    """The samples of a catalog in which one clear main face was found, with its crops."""
    kept: list[Prepared] = []
    lost: dict[str, int] = defaultdict(int)
    looked = prepare(catalog, root, cache, recipe.plan, place=place, say=say)
    for number, (sample, row) in enumerate(looked, start=1):
        if number % 50 == 0:
            say(f"prepared {number} of {len(catalog)}")
        if row["status"] != Status.OK:
            lost[str(row["status"])] += 1
            continue
        look = load_look(cache / f"{cache_key(sample, recipe.plan)}.npz")
        kept.append(Prepared(sample, look.faces[0]))
    if lost:
        say("left out: " + ", ".join(f"{n} {status}" for status, n in sorted(lost.items())))
    return tuple(kept)


def lessons_from(
    samples: Sequence[Prepared],
    root: Path,
    cache: Path,
    recipe: TrainRecipe,
    say: Say = silent,
    place: Place | None = None,
) -> list[Lesson]:
    """Forgeries in time of the real clips among some samples, each beside its real twin."""
    kinds = recipe.lessons if recipe.temporal else ()
    real = [(s.sample, root / s.sample.path, s.person) for s in samples if not s.synthetic and len(s.face.windows)]
    out: list[Lesson] = []
    for number, found in enumerate(lessons_of(real, kinds, cache, place=place), start=1):
        out += found
        if number % 20 == 0:
            say(f"forged {number} of {len(real)} real clips in time")
    return out


def train(
    recipe: TrainRecipe,
    datasets: Sequence[tuple[Path, Catalog]],
    out: Path,
    *,
    minutes: float = 90.0,
    resume: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    network: Path | None = None,
    start: Path | None = None,
    version: str | None = None,
    say: Say = silent,
    place: Place | None = None,
) -> Path:
    """Train a detector and write `detector.safetensors` with its description, log and resolved recipe.

    Args:
        recipe: how.
        datasets: (folder, catalog) pairs; only their training split is used.
        out: folder for everything that is written.
        minutes: time for the network; preparing and calibrating come on top.
        resume: go on from the checkpoint in `out`.
        seed: of every draw.
        cache: folder for prepared crops, `out/prepared` by default.
        network: weights whose network is kept as it is; only what weighs its answers is fitted.
        start: weights whose network training starts from, at the recipe's size. Give the seed that they were trained
            with: of the people who are held out, only those whom the network never met check it.
        version: recorded with the weights; "1", or that of the kept ones, unless given.
        say: told one line at a time how it goes.
        place: where files are prepared; None is this process.

    Returns:
        Path of the weights.

    Raises:
        DetectError: when the data cannot train a detector or a folder cannot be written.
    """
    make_folder(out)
    write_whole(json.dumps(recipe.to_json() | {"seed": seed}, indent=1) + "\n", out / "recipe.json")
    samples: list[Prepared] = []
    lessons: list[Lesson] = []
    kept_in = cache or out / "prepared"
    for root, catalog in datasets:
        teaching = Catalog([s for s in catalog if s.split in (None, "train")], name=catalog.name)
        found = prepared_samples(teaching, root, kept_in, recipe, say, place)
        samples += found
        lessons += lessons_from(found, root, kept_in / "lessons", recipe, say, place)
    if network is not None:
        kept = FrameDetector.load(network)
        known, split = kept.description, split_of_network(samples, kept.description)
        say(f"the network of {known.name} {known.version} is kept; {len(split.unseen_people)} people never taught it")
        steps = int(known.figures.get("steps", -1))
        origin = Origin(known.name, version or known.version, recipe.to_json() | {"seed": seed, "network": "kept"})
        description = describe(kept.network, split, lessons, replace(recipe, size=known.size), steps, seed, origin)
        return write_detector(kept.network, description, out / "detector.safetensors")
    begin = None if start is None else FrameDetector.load(start)
    split = split_for_training(samples, recipe, seed)
    if begin is not None:
        split = split_for_going_on(split, begin.description)
    say(
        f"{len(split.teach)} samples teach; held out: {', '.join(split.held_out_makers)} and {len(split.check)} samples"
    )
    trainer = Trainer(recipe, split, out, seed, say, None if begin is None else begin.network)
    if resume:
        trainer.resume()
    trainer.run(minutes)
    best = trainer.best()
    origin = Origin(recipe.name, version or "1", recipe.to_json() | {"seed": seed})
    description = describe(best, split, lessons, recipe, trainer.progress.best_step, seed, origin)
    return write_detector(best, description, out / "detector.safetensors")
