"""Train the listener of the speech-to-motion baseline.

    python -m forge.motion.spoken_corpus sentences.tsv CORPUS        # speech with timed visemes
    python -m forge.motion.train_baseline --data CORPUS -o listener.safetensors [--held-out OTHER_CORPUS ...]

Axes: B batch, T hearing frames, C channels or bands, V visemes. Every utterance is heard several times, each time
through another room, microphone, noise and tempo. Every tenth utterance is kept for validation; `--held-out` corpora
(other voices) are only scored.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor, nn
from torch.nn import functional

from forge.motion.hearing import BANDS, HEARING_HZ, RATE_HZ, Ear, Heard, hear
from forge.motion.listener import (
    BLOCKS,
    CHANNELS,
    ENTRY_TAPS,
    EPSILON,
    LIVE,
    WHOLE,
    Listener,
    Span,
    viseme_chances,
)
from forge.motion.rooms import colour, degraded
from forge.motion.spoken_corpus import Timed, read_wav
from forge.motion.visemes import CLOSED, SILENCE, VISEMES
from media.clip import Waveform

log = logging.getLogger(__name__)
FloatArray = NDArray[np.float32]
Lesson = tuple[FloatArray, NDArray[np.int64]]
"""(T, 80) bands and (T,) viseme indices."""


@dataclass(frozen=True)
class Recipe:
    """How the listener is trained."""

    steps: int = 2400
    batch: int = 24
    frames: int = 240
    hearings: int = 3
    """How many differently degraded copies of each utterance."""
    recorded_hearings: int = 12
    """The same for recordings of people, which are few and teach most."""
    learning_rate: float = 2e-3
    smoothing: float = 0.05
    closure_weight: float = 1.6
    """Loss weight of p, b, m: rare, and the eye forgives least there."""
    seed: int = 0
    live: bool = False
    """For speech that is still being spoken: bands of `hearing.Ear`, and hardly a look ahead."""

    @property
    def span(self) -> Span:
        """How far the network may look."""
        return LIVE if self.live else WHOLE


class Network(nn.Module):
    """The torch twin of `listener.Listener`."""

    def __init__(self, span: Span = WHOLE) -> None:
        super().__init__()
        self.span = span
        self.entry = nn.Conv1d(BANDS, CHANNELS, ENTRY_TAPS)
        self.norms = nn.ModuleList(nn.LayerNorm(CHANNELS, EPSILON) for _ in range(BLOCKS))
        self.wides = nn.ModuleList(nn.Conv1d(CHANNELS, CHANNELS, 3, dilation=d) for d in span.dilations)
        self.points = nn.ModuleList(nn.Conv1d(CHANNELS, CHANNELS, 1) for _ in range(BLOCKS))
        self.exit_norm = nn.LayerNorm(CHANNELS, EPSILON)
        self.exit = nn.Conv1d(CHANNELS, len(VISEMES), 1)

    def forward(self, bands_BCT: Tensor, drop: float = 0.0) -> Tensor:
        """Logits (B, V, T) of (B, 80, T) bands."""
        ahead = self.span.ahead
        x_BCT = functional.relu(self.entry(functional.pad(bands_BCT, (ENTRY_TAPS - 1 - ahead[0], ahead[0]))))
        layers = zip(self.norms, self.wides, self.points, self.span.dilations, ahead[1:], strict=True)
        for norm, wide, point, dilation, after in layers:
            y_BCT = norm(x_BCT.transpose(1, 2)).transpose(1, 2)
            y_BCT = point(functional.relu(wide(functional.pad(y_BCT, (2 * dilation - after, after)))))
            x_BCT = x_BCT + functional.dropout(y_BCT, drop, self.training)
        logits: Tensor = self.exit(self.exit_norm(x_BCT.transpose(1, 2)).transpose(1, 2))
        return logits

    def tensors(self) -> dict[str, NDArray[np.float16]]:
        """Weights under the names and shapes of `listener.expected_shapes`, rounded to half precision."""
        return {n: np.ascontiguousarray(t.detach().numpy().astype(np.float16)) for n, t in self._named().items()}

    def take(self, listener: Listener) -> None:
        """Set the weights to those of a listener."""
        with torch.no_grad():
            for name, tensor in self._named().items():
                tensor.copy_(torch.from_numpy(listener.tensors[name]))

    def _named(self) -> dict[str, Tensor]:
        """Views of the parameters under the listener's names, convolutions with axes (taps, in, out)."""
        own: dict[str, Tensor] = dict(self.named_parameters())
        layers = {"entry": "entry", "exit": "exit"}
        norms = {"exit": "exit_norm"}
        for i in range(BLOCKS):
            layers |= {f"block{i}.wide": f"wides.{i}", f"block{i}.point": f"points.{i}"}
            norms[f"block{i}"] = f"norms.{i}"
        named = {f"{name}.weight": own[f"{layer}.weight"].permute(2, 1, 0) for name, layer in layers.items()}
        named |= {f"{name}.bias": own[f"{layer}.bias"] for name, layer in layers.items()}
        named |= {f"{name}.scale": own[f"{norm}.weight"] for name, norm in norms.items()}
        return named | {f"{name}.shift": own[f"{norm}.bias"] for name, norm in norms.items()}


def labels_of(visemes: Timed, length: int, tempo: float = 1.0, delay_seconds: float = 0.0) -> NDArray[np.int64]:
    """(T,) viseme index of each hearing frame (at its centre); before the first viseme is silence."""
    starts = np.asarray([start / tempo + delay_seconds for start, _ in visemes])
    kinds = np.asarray([VISEMES.index(viseme) for _, viseme in visemes] + [SILENCE])
    centres = (np.arange(length) + 0.5) / HEARING_HZ
    return kinds[np.searchsorted(starts, centres, side="right") - 1].astype(np.int64)


def read_corpus(folder: Path) -> list[tuple[FloatArray, Timed, str]]:
    """(samples (N,), visemes, voice) of each utterance of `spoken_corpus` that lasts half a second or more."""
    lines = [json.loads(line) for line in (folder / "phones.jsonl").read_text().splitlines()]
    every = [
        (read_wav(folder / line["file"]).samples[:, 0], [(s, v) for s, v in line["visemes"]], line["voice"])
        for line in lines
    ]
    return [utterance for utterance in every if utterance[0].shape[0] >= RATE_HZ // 2]


def heard_bands(sound: FloatArray, *, live: bool) -> FloatArray:
    """(T, 80) bands of samples (N,) at 16 kHz: as a whole, or as they would be heard live."""
    if live:
        ear = Ear()
        return np.concatenate([ear.push(sound), ear.finish()])
    return hear(Waveform(np.ascontiguousarray(sound[:, None], np.float32), RATE_HZ)).bands


def lessons(corpus: list[tuple[FloatArray, Timed, str]], recipe: Recipe) -> list[Lesson]:
    """Each utterance heard `recipe.hearings` times: once clean, then degraded, at other tempi, with silence around."""
    random = np.random.default_rng(recipe.seed)

    def others() -> FloatArray:
        return corpus[int(random.integers(len(corpus)))][0]

    out: list[Lesson] = []
    for samples, visemes, voice in corpus:
        synthetic = voice.startswith(("flite", "espeak"))
        for hearing in range(recipe.hearings if synthetic else recipe.recorded_hearings):
            tempo = 1.0 if hearing == 0 else float(random.uniform(0.86, 1.16))
            places = np.arange(int(samples.shape[0] / tempo)) * tempo
            sound = np.interp(places, np.arange(samples.shape[0]), samples) if hearing else samples
            before, after = (int(s * RATE_HZ) for s in random.uniform(0.0, 0.5, 2))
            sound = np.pad(sound, (before, after))
            sound = degraded(sound, others, random) if hearing else sound.astype(np.float32)
            bands = heard_bands(sound.astype(np.float32), live=recipe.live)
            labels = labels_of(visemes, bands.shape[0], tempo, before / RATE_HZ)
            labels[int((before + samples.shape[0] / tempo) / RATE_HZ * HEARING_HZ) :] = SILENCE
            out.append((bands, labels))
    return out


def wordless(count: int, seed: int, *, live: bool = False) -> list[Lesson]:
    """Hiss, hum, rumble and knocks without speech: five seconds each, all silence."""
    random = np.random.default_rng(seed)
    out: list[Lesson] = []
    for _ in range(count):
        length = 5 * RATE_HZ
        sound = np.fft.irfft(np.fft.rfft(random.standard_normal(length)) * colour(length, random), length)
        sound *= 10 ** (random.uniform(-65, -20) / 20) / (sound.std() + 1e-12)
        swell = np.interp(np.arange(length), np.linspace(0, length, 9), random.normal(0, random.uniform(0, 5), 9))
        sound *= 10 ** (swell / 20)
        if random.random() < 0.3:
            time = np.arange(length) / RATE_HZ
            hum = sum(np.sin(2 * np.pi * k * random.choice([50, 60, 120]) * time) / k for k in (1, 2, 3))
            sound += sound.std() * random.uniform(0.3, 3) * hum
        for knock in random.integers(0, length - 800, int(random.integers(0, 4))):
            fade = np.exp(-np.arange(800) / random.uniform(30, 200))
            sound[knock : knock + 800] += 8 * sound.std() * fade * random.standard_normal(800)
        bands = heard_bands(np.clip(sound, -1, 1).astype(np.float32), live=live)
        out.append((bands, np.full(bands.shape[0], SILENCE, np.int64)))
    return out


def batch_of(taught: list[Lesson], recipe: Recipe, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A random batch (B, 80, T), (B, T); bands are masked now and then, -100 marks what is beyond an utterance."""
    bands = np.full((recipe.batch, recipe.frames, BANDS), -2.0, np.float32)
    labels = np.full((recipe.batch, recipe.frames), -100, np.int64)
    for row in range(recipe.batch):
        heard, said = taught[int(random.integers(len(taught)))]
        start = int(random.integers(max(1, heard.shape[0] - recipe.frames + 1)))
        piece = heard[start : start + recipe.frames]
        bands[row, : piece.shape[0]] = piece
        labels[row, : piece.shape[0]] = said[start : start + recipe.frames]
        if random.random() < 0.5:
            low = int(random.integers(BANDS - 12))
            bands[row, :, low : low + int(random.integers(2, 12))] = -1.0
    return torch.from_numpy(bands).transpose(1, 2), torch.from_numpy(labels)


def train(taught: list[Lesson], recipe: Recipe, start: Listener | None = None) -> Network:
    """Fit the network, from random weights or from those of a listener."""
    torch.manual_seed(recipe.seed)
    random = np.random.default_rng(recipe.seed + 1)
    network = Network(recipe.span).train()
    if start is not None:
        network.take(start)
    optimiser = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, recipe.steps, pct_start=0.1)
    weights = torch.ones(len(VISEMES))
    weights[CLOSED] = recipe.closure_weight
    for step in range(recipe.steps):
        bands_BCT, labels_BT = batch_of(taught, recipe, random)
        loss = functional.cross_entropy(
            network(bands_BCT, 0.1), labels_BT, weight=weights, label_smoothing=recipe.smoothing
        )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == recipe.steps - 1:
            log.info("step %d of %d: loss %.3f", step, recipe.steps, float(loss.detach()))
    return network.eval()


def score(listener: Listener, taught: list[Lesson]) -> dict[str, float]:
    """Frame accuracy; of lip closures the share that is heard, and how many are heard where there is none."""
    right = total = closures = found = invented = 0
    for bands, labels in taught:
        heard = Heard(bands.astype(np.float32), np.zeros(bands.shape[0], np.float32))
        chance = viseme_chances(heard, listener)
        right += int((chance.argmax(axis=1) == labels).sum())
        total += labels.shape[0]
        spans = _spans(labels == CLOSED)
        closures += len(spans)
        found += sum(bool((chance[max(0, a - 2) : b + 2, CLOSED] > 0.4).any()) for a, b in spans)
        near = np.convolve(labels == CLOSED, np.ones(9), "same") > 0
        invented += sum(not near[a:b].any() for a, b in _spans(chance[:, CLOSED] > 0.4))
    return {
        "frame_accuracy": round(right / total, 4),
        "closure_recall": round(found / max(1, closures), 4),
        "false_closures_a_minute": round(invented / (total / HEARING_HZ / 60), 2),
        "minutes": round(total / HEARING_HZ / 60, 2),
    }


def _spans(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, last + 1) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def main(arguments: list[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m forge.motion.train_baseline", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, action="append", help="folder written by forge.motion.spoken_corpus"
    )
    parser.add_argument(
        "-o", "--out", type=Path, required=True, help="listener.safetensors to write; a .json goes beside it"
    )
    parser.add_argument("--held-out", type=Path, action="append", default=[], help="other voices, only scored")
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--rate", type=float, default=Recipe.learning_rate, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--hearings", type=int, default=Recipe.hearings, help="degraded copies of each utterance")
    parser.add_argument(
        "--recorded-hearings", type=int, default=Recipe.recorded_hearings, help="the same of recordings of people"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--live", action="store_true", help="the listener for speech that is still being spoken")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    recipe = Recipe(
        steps=args.steps,
        hearings=args.hearings,
        recorded_hearings=args.recorded_hearings,
        learning_rate=args.rate,
        seed=args.seed,
        live=args.live,
    )
    corpus = [utterance for folder in args.data for utterance in read_corpus(folder)]
    taught = lessons([u for i, u in enumerate(corpus) if i % 10], recipe)
    taught += wordless(len(taught) // 15, recipe.seed, live=args.live)
    log.info("%d utterances, %d lessons", len(corpus), len(taught))
    start = Listener.from_bytes(args.start.read_bytes(), recipe.span) if args.start else None
    network = train(taught, recipe, start)
    data = save(network.tensors())
    listener = Listener.from_bytes(data, recipe.span)
    once = Recipe(hearings=2, recorded_hearings=2, seed=1, live=args.live)
    scores = {"validation": score(listener, lessons(corpus[::10], once)[::2])}
    scores["validation, degraded"] = score(listener, lessons(corpus[::10], once)[1::2])
    for folder in args.held_out:
        heard = lessons(read_corpus(folder), once)
        scores[folder.name] = score(listener, heard[::2])
        scores[f"{folder.name}, degraded"] = score(listener, heard[1::2])
    args.out.write_bytes(data)
    facts = {"recipe": asdict(recipe), "utterances": len(corpus), "scores": scores}
    args.out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    log.info("%s", json.dumps(scores, indent=1))


if __name__ == "__main__":
    main()
