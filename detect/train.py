"""Train a detector: catalog -> prepared crops -> pairs -> network -> motion branch -> fusion -> calibrated weights.

    train(recipe_named("frame_cpu"), catalog, root, Path("runs/first"), minutes=60)

The rules of a fair training, told once:

1. Only samples of the training split (or without a split) are touched. Of these, whole makers and whole people are held
   out: they choose the checkpoint, the calibration and the threshold, and teach nothing.
2. A batch holds pairs: a real picture and a forgery of the same size through the *same* treatment (scaler, lens,
   codec).
3. People are drawn evenly, then their clips; makers are drawn evenly, then people. A talkative source does not
   weigh more.
4. The weights that are kept are the running mean at the step that was best on the held-out makers and people.
5. Probability and threshold are fitted on scores of clips whose maker or person the branches were fitted without.

A network that is trained already can be kept (`network=`): then only the branches, the fusion, the probability and the
threshold are fitted.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as packed_tensors
from torch import Tensor
from torch.nn import functional

from detect.calibration import Calibration, fit_calibration
from detect.detector import DetectError, Status
from detect.metrics import roc_auc, threshold_for_false_alarms
from detect.models.frame import Description, FrameDetector, Fusion, SurfaceModel, TemporalModel, detail_of
from detect.models.fusing import ClipEvidence, fit_fusion
from detect.models.leaving_out import Branches, auc_on_unknown_sources, left_out_scores
from detect.models.network import FrameNet, network_crop, start_from_imagenet, to_batch
from detect.prepare import FaceLook, cache_key, load_look, prepare
from detect.pseudo import Rng, Treatment, forge
from detect.recipes import TrainRecipe
from detect.report import write_whole
from detect.sampling import spread_indices
from media.catalog import Catalog, Label, Sample
from media.clip import FloatArray, UInt8Array

Say = Callable[[str], None]
LABEL_ORDER = (0.0, 1.0)
TOLERATED_FALSE_ALARMS = 0.05
"""Share of real clips that the threshold may call synthetic on the clips it is chosen on."""


def _silent(text: str) -> None:
    """For callers who do not want to hear anything."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A sample whose face was found."""

    sample: Sample
    face: FaceLook

    @property
    def synthetic(self) -> bool:
        """The label."""
        return self.sample.label is Label.SYNTHETIC

    @property
    def person(self) -> str:
        """Who; a sample without a known person is its own."""
        return self.sample.person or self.sample.source or self.sample.id

    @property
    def maker(self) -> str:
        """Generator of a synthetic sample, collection of a real one."""
        return self.sample.maker or "unknown"


@dataclass(frozen=True)
class Split:
    """Prepared samples that teach, and those that select and calibrate."""

    teach: tuple[Prepared, ...]
    check: tuple[Prepared, ...]
    held_out_makers: tuple[str, ...]

    @property
    def unseen_people(self) -> tuple[str, ...]:
        """People of real samples that do not teach."""
        return tuple(sorted({s.person for s in self.check if not s.synthetic} - {s.person for s in self.teach}))


def _stable(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on a name and a seed only, not on the order of a catalog."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{text}".encode()).digest()[:8], "big") / 2**64


def split_for_training(samples: Sequence[Prepared], recipe: TrainRecipe, seed: int) -> Split:
    """Hold out whole makers of synthetic clips and whole people of real ones; nobody is on both sides.

    Raises:
        DetectError: when a label is missing, or nothing would be left on a side.
    """
    synthetic, real = [s for s in samples if s.synthetic], [s for s in samples if not s.synthetic]
    if not synthetic or not real:
        raise DetectError(f"training needs both labels, got {len(real)} real and {len(synthetic)} synthetic samples")
    makers = sorted({s.maker for s in synthetic}, key=lambda m: _stable(m, seed))
    people = sorted({s.person for s in real}, key=lambda p: _stable(p, seed))
    count = min(recipe.held_out_makers, len(makers) - 1)
    held_makers = set(makers[:count])
    held_people = set(people[: max(1, round(recipe.held_out_people * len(people)))]) if len(people) > 1 else set()
    check = [s for s in synthetic if s.maker in held_makers or not held_makers]
    seen = {s.person for s in check if held_makers} | held_people
    check += [s for s in real if s.person in seen or not held_people]
    teach = [s for s in synthetic if s.maker not in held_makers and s.person not in seen]
    teach += [s for s in real if s.person not in seen]
    if not any(not s.synthetic for s in teach):
        raise DetectError("no real sample is left to teach from: give clips of more people")
    return Split(tuple(teach), tuple(check), tuple(sorted(held_makers)))


def split_of_network(samples: Sequence[Prepared], described: Description) -> Split:
    """Who taught a network that is trained already, by its own description, and who can check it.

    Raises:
        DetectError: when a label is missing, or all real samples may have taught it.
    """
    makers = {str(maker) for maker in described.figures.get("held_out_makers", ())}
    unseen = set(described.unseen_people)
    check = tuple(s for s in samples if (s.maker in makers if s.synthetic else s.person in unseen))
    if len({s.synthetic for s in samples}) < 2:
        raise DetectError("fitting needs real and synthetic samples; give datasets that hold both")
    if all(s.synthetic for s in check):
        raise DetectError(
            f"the description of {described.name} names no real person of these samples that its network was not "
            "taught; train a network on them instead"
        )
    chosen = {id(s) for s in check}
    return Split(tuple(s for s in samples if id(s) not in chosen), check, tuple(sorted(makers)))


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


def _auc_on(network: FrameNet, check: Sequence[Prepared], size: int) -> float:
    labels = [s.synthetic for s in check]
    return roc_auc(labels, [float(network_logits(network, s.face, size, 4).mean()) for s in check])


class Trainer:
    """The loop over batches with its checkpoints; see `train` for the whole."""

    def __init__(self, recipe: TrainRecipe, split: Split, folder: Path, seed: int, say: Say) -> None:
        """A network at its start.

        Raises:
            DetectError: when the recipe's device or ImageNet weights are missing.
        """
        if recipe.device == "cuda" and not torch.cuda.is_available():
            raise DetectError(f"recipe {recipe.name} needs a CUDA GPU and there is none; use frame_cpu")
        torch.manual_seed(seed)
        self.recipe, self.split, self.folder, self.seed, self.say = recipe, split, folder, seed, say
        self.network = FrameNet()
        if recipe.imagenet:
            start_from_imagenet(self.network)
            self.network.freeze_lower()
        self.network = self.network.to(recipe.device).to(memory_format=torch.channels_last)
        self.mean = copy.deepcopy(self.network).eval()
        self.optimizer = torch.optim.AdamW(self._groups(), weight_decay=recipe.weight_decay)
        self.progress = Progress()

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
        auc = _auc_on(self.mean, self.split.check, self.recipe.size)
        p = self.progress
        line = {"step": p.step, "seconds": round(p.seconds, 1), "loss": round(loss, 4), "held_out_auc": round(auc, 4)}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.say(f"step {p.step}: loss {loss:.3f}, AUC on held-out makers and people {auc:.3f}")
        # a nan (one label only among the held-out) keeps the newest
        if not auc <= p.best_auc:
            p.best_auc, p.best_step = auc, p.step
            best = {k: v.contiguous() for k, v in self.mean.state_dict().items()}
            write_whole(packed_tensors(best), self.folder / "best.safetensors")
        self.save()

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


def write_detector(network: FrameNet, description: Description, path: Path) -> Path:
    """Write half-precision weights and their description; returns the .safetensors path.

    Raises:
        DetectError: when the folder cannot be written.
    """
    half = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    data = packed_tensors(half)
    write_whole(data, path)
    described = replace(description, weights_sha256=hashlib.sha256(data).hexdigest())
    write_whole(json.dumps(described.to_json(), indent=1, sort_keys=True) + "\n", path.with_suffix(".json"))
    return path


def prepared_samples(
    catalog: Catalog, root: Path, cache: Path, recipe: TrainRecipe, say: Say = _silent
) -> tuple[Prepared, ...]:
    """The samples of a catalog in which one clear main face was found, with its crops."""
    kept: list[Prepared] = []
    lost: dict[str, int] = defaultdict(int)
    for number, (sample, row) in enumerate(prepare(catalog, root, cache, recipe.plan), start=1):
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
    version: str | None = None,
    say: Say = _silent,
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
        version: recorded with the weights; "1", or that of the kept ones, unless given.
        say: told one line at a time how it goes.

    Returns:
        Path of the weights.

    Raises:
        DetectError: when the data cannot train a detector or a folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "recipe.json").write_text(json.dumps(recipe.to_json() | {"seed": seed}, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise DetectError(f"{out}: cannot write there ({error.strerror})") from error
    samples: list[Prepared] = []
    for root, catalog in datasets:
        teaching = Catalog([s for s in catalog if s.split in (None, "train")], name=catalog.name)
        samples += prepared_samples(teaching, root, cache or out / "prepared", recipe, say)
    if network is not None:
        kept = FrameDetector.load(network)
        known, split = kept.description, split_of_network(samples, kept.description)
        say(f"the network of {known.name} {known.version} is kept; {len(split.unseen_people)} people never taught it")
        progress = Progress(best_step=int(known.figures.get("steps", -1)))
        origin = Origin(known.name, version or known.version, recipe.to_json() | {"seed": seed, "network": "kept"})
        description = describe(kept.network, split, replace(recipe, size=known.size), progress, seed, origin)
        return write_detector(kept.network, description, out / "detector.safetensors")
    split = split_for_training(samples, recipe, seed)
    say(
        f"{len(split.teach)} samples teach; held out: {', '.join(split.held_out_makers)} and {len(split.check)} samples"
    )
    trainer = Trainer(recipe, split, out, seed, say)
    if resume:
        trainer.resume()
    trainer.run(minutes)
    best = trainer.best()
    origin = Origin(recipe.name, version or "1", recipe.to_json() | {"seed": seed})
    description = describe(best, split, recipe, trainer.progress, seed, origin)
    return write_detector(best, description, out / "detector.safetensors")


def evidence_of(network: FrameNet, samples: Sequence[Prepared], size: int, most: int = 12) -> list[ClipEvidence]:
    """What the branches have to go on for each sample."""
    out = []
    for s in samples:
        chosen = spread_indices(len(s.face.crops), most)
        with torch.inference_mode():
            batch = to_batch([network_crop(s.face.crops[i], size) for i in chosen])
            logits, surface = network.logits_and_surface(batch)
        mean = surface.double().numpy().mean(axis=0)
        out.append(ClipEvidence(s.synthetic, s.person, s.maker, logits.double().numpy(), s.face.windows, mean))
    return out


def unseen_by_network(split: Split, recipe: TrainRecipe) -> tuple[Prepared, ...]:
    """Samples that may calibrate: the held-out ones; all of them when only pseudo-forgeries taught the network.

    Then no synthetic clip was ever seen, and a real one was seen as often beside its own forgery as for itself.
    """
    return split.check if recipe.synthetic_share > 0 else split.teach + split.check


def picture_logits(network: FrameNet, samples: Sequence[Prepared], recipe: TrainRecipe, seed: int) -> list[list[float]]:
    """Logits of single real pictures, and of pseudo-forgeries of them: what calibrates answers on pictures."""
    rng = np.random.default_rng(seed)
    real: list[float] = []
    forged: list[float] = []
    for s in samples:
        for n in spread_indices(len(s.face.crops), 3):
            crop = s.face.crops[n]
            treatment = Treatment.draw(rng, recipe.sides)
            pair = [crop, forge(crop, s.face.landmarks[n], rng, recipe.blend_share)]
            batch = to_batch([network_crop(treatment.apply(c, crop.shape[0]), recipe.size) for c in pair])
            with torch.inference_mode():
                a, b = network(batch).double().tolist()
            real.append(a)
            forged.append(b)
    return [real, forged]


@dataclass(frozen=True)
class Origin:
    """How weights call themselves, and what they were made with."""

    name: str
    version: str
    recipe: Mapping[str, Any]


def calibrated(
    clips: Sequence[ClipEvidence], branches: Branches, fusion: Fusion
) -> tuple[Calibration, float, list[float]]:
    """What makes probabilities of logits, the threshold, and the logits they were fitted on (rule 5 of the module)."""
    scores = [branches.scores(c) for c in clips]
    if branches.temporal.features:
        without = left_out_scores(clips)
        # a single maker cannot be left out: then what was fitted on it has to do
        scores = without if all(isfinite(motion) for motion, _ in without) else scores
    logits = [fusion.logit(fusion.pooled(c.logits), *pair) for c, pair in zip(clips, scores, strict=True)]
    labels = [c.synthetic for c in clips]
    if len(set(labels)) < 2:
        return Calibration(), 0.5, logits
    calibration = fit_calibration(labels, logits)
    probabilities = calibration.probabilities(logits)
    return calibration, threshold_for_false_alarms(labels, probabilities, TOLERATED_FALSE_ALARMS), logits


def describe(
    network: FrameNet, split: Split, recipe: TrainRecipe, progress: Progress, seed: int, origin: Origin
) -> Description:
    """Fit motion and surface branch, fusion, calibration and threshold on training people (rule 1 of the module)."""
    network = network.cpu().eval()
    check = evidence_of(network, split.check, recipe.size)
    clips = evidence_of(network, unseen_by_network(split, recipe), recipe.size)
    # pictures have no motion and a calibration of their own
    clips = [c for c in clips if len(c.windows)] or clips
    branches = Branches.fit(clips) if recipe.temporal else Branches(TemporalModel(), SurfaceModel())
    fusion = fit_fusion(check if any(not c.synthetic for c in check) else clips)
    labels = [c.synthetic for c in clips]
    calibration, threshold, logits = calibrated(clips, branches, fusion)
    real = [s for s in split.check if not s.synthetic] or [s for s in split.teach if not s.synthetic]
    pictures = picture_logits(network, real, recipe, seed)
    alone = [fusion.logit(value) for side in pictures for value in side]
    truth = [False] * len(pictures[0]) + [True] * len(pictures[1])
    detail = [detail_of(s.face.crops, recipe.size) for s in split.teach + split.check]
    figures = {
        "steps": progress.best_step,
        "held_out_makers": list(split.held_out_makers),
        "teaching_samples": len(split.teach),
        "calibrating_samples": len(clips),
        "calibrating_auc": _rounded(labels, logits),
        "calibrating_auc_frames": _rounded(labels, [fusion.pooled(c.logits) for c in clips]),
        "unknown_sources_auc": auc_on_unknown_sources(clips) if recipe.temporal else {},
        "picture_auc_pseudo": _rounded(truth, alone),
    }
    return Description(
        name=origin.name,
        version=origin.version,
        size=recipe.size,
        threshold=float(np.clip(threshold, 0.01, 0.99)),
        calibration=calibration,
        picture_calibration=fit_calibration(truth, alone),
        temporal=branches.temporal,
        surface=branches.surface,
        fusion=fusion,
        min_detail=float(0.25 * min(detail)),
        recipe=origin.recipe,
        figures=figures,
        weights_sha256="",
        unseen_people=split.unseen_people,
    )


def _rounded(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    known = len(set(labels)) == 2 and all(isfinite(score) for score in scores)
    return round(roc_auc(labels, scores), 4) if known else None
