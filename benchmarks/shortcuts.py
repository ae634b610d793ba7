"""Shortcuts of a labelled dataset: `python -m benchmarks.shortcuts CATALOG -o benchmarks/results/shortcuts.json`.

1. Every clip is measured once (`shortcut_statistics`; kept by content under `--cache`).
2. One probe a nuisance tries to tell the labels apart without the forgery (`shortcut_probes`): above 0.60 it fails.
3. Null fakes (`--null 24`): real clips through everything that a maker's output goes through except the making. They
   must score real (`shortcut_nulls`).
4. `--mend DIR` writes a copy of the dataset in which what can be made alike is alike, with weights for what cannot, and
   runs the probes again on it (`shortcut_mending`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import cv2
import numpy as np
import typer

from benchmarks.robustness import sampled
from benchmarks.shortcut_mending import Treatment, balanced_weights, effective_clips, mend, with_weights
from benchmarks.shortcut_nulls import null_row, score_nulls
from benchmarks.shortcut_pictures import Values
from benchmarks.shortcut_probes import DRAWS, LIMIT, PROBES, People, ProbeFigures, run_probe
from benchmarks.shortcut_statistics import NETWORK_SIDE, Array, Embedding, Statistics, kept_statistics
from benchmarks.tables import RESULTS, Result, Row, Table
from detect.corpora.table import read_dataset
from detect.detector import DetectError
from detect.load import load_detector
from detect.metrics import Measure
from forge.portrait import ForgeError
from media.catalog import Catalog, Label
from media.clip import MediaError, UInt8Array
from media.faces import FaceFinder
from provenance.errors import ProvenanceError

Say = Callable[[str], None]
NAMES: Final = "names"


def imagenet_embedding() -> Embedding:
    """The mean last block of a frozen EfficientNet-Lite0: what pictures show, learned from photographs.

    Raises:
        DetectError: when its weights are not installed.
    """
    import torch

    from detect.models.network import FrameNet, start_from_imagenet, to_batch

    network = FrameNet().eval()
    start_from_imagenet(network)

    def embed(pictures: Sequence[UInt8Array]) -> Array:
        assert all(picture.shape == (NETWORK_SIDE, NETWORK_SIDE, 3) for picture in pictures)
        with torch.inference_mode():
            value = network.blocks(network.bn(network.stem(to_batch(list(pictures)))))
            return np.asarray(value.mean((0, 2, 3)).double().numpy(), np.float64)

    return embed


def people_of(catalog: Catalog, weights: Array | None = None) -> People:
    """Whose clips they are; who is unknown is somebody else in every clip."""
    return People(
        np.array([s.label is Label.SYNTHETIC for s in catalog], bool),
        tuple(s.cluster for s in catalog),
        tuple(s.source or s.id for s in catalog),
        tuple(s.maker or "unknown" for s in catalog),
        np.zeros(0) if weights is None else weights,
    )


def name_statistics(catalog: Catalog) -> list[Values]:
    """Where each clip stands among the names, and how its name is made."""
    order = {path: n for n, path in enumerate(sorted(s.path for s in catalog))}
    last = max(1, len(catalog) - 1)
    rows: list[Values] = []
    for number, sample in enumerate(catalog):
        place, name = order[sample.path] / last, Path(sample.path).name
        rows.append(
            {
                "place by name": place,
                "place by name, from the middle": abs(place - 0.5),
                "place in the catalog": number / last,
                "letters": float(len(name)),
                "digits": float(sum(c.isdigit() for c in name)),
            }
        )
    return rows


def measured(
    root: Path, catalog: Catalog, cache: Path, embed: Embedding | None, say: Say
) -> tuple[Catalog, list[Statistics]]:
    """Statistics of every clip that can be read, and the catalog of these."""
    kept, rows = [], []
    opened: list[FaceFinder] = []

    def finder() -> FaceFinder:
        if not opened:
            opened.append(FaceFinder(max_faces=2, small_faces=False))
        return opened[0]

    cache.mkdir(parents=True, exist_ok=True)
    try:
        for number, sample in enumerate(catalog, 1):
            try:
                rows.append(kept_statistics(sample, root, cache, finder, embed))
                kept.append(sample)
            except MediaError as error:
                say(f"left out: {error}")
            if number % 25 == 0:
                say(f"measured {number} of {len(catalog)}")
    finally:
        for one in opened:
            one.close()
    return Catalog(kept, catalog.name), rows


def probed(
    catalog: Catalog, statistics: Sequence[Statistics], weights: Array | None = None, draws: int = DRAWS
) -> dict[str, ProbeFigures]:
    """The figures of every probe that has statistics."""
    people = people_of(catalog, weights)
    named = name_statistics(catalog)
    rows = [{**own, NAMES: names} for own, names in zip(statistics, named, strict=True)]
    out = {}
    for name, one in PROBES.items():
        values = [row.get(one.group) for row in rows]
        if any(values):
            out[name] = run_probe(values, people, draws)
    return out


def figure(measured: Measure) -> str:
    """A figure with its interval."""
    if not measured.scored:
        return f"not scored: {measured.reason}"
    return f"{measured.value:.3f} ({measured.low:.3f} to {measured.high:.3f})"


def verdict(figures: ProbeFigures) -> str:
    """Whether a probe keeps the limit, and what the interval says to that."""
    if figures.passes is None:
        return "not measured"
    word = "passes" if figures.passes else "fails"
    other = "may fail" if figures.passes else "may pass"
    return word if figures.sure else f"{word}; by its interval it {other}"


def probe_rows(found: Mapping[str, ProbeFigures]) -> tuple[Row, ...]:
    """One row a probe."""
    return tuple(
        {
            "probe": name,
            "clips": one.clips,
            "AUC, makers and people left out": figure(one.auc),
            f"at {LIMIT:.2f}": verdict(one),
            "AUC, people left out": figure(one.known_makers),
            "looks at": PROBES[name].what,
            "tells most alone": one.strongest,
            "remedy": "" if one.passes else PROBES[name].remedy,
        }
        for name, one in found.items()
    )


def failing(found: Mapping[str, ProbeFigures]) -> list[str]:
    """Names of the probes above the limit."""
    return [name for name, one in found.items() if one.passes is False]


def mended_rows(before: Mapping[str, ProbeFigures], *after: tuple[str, Mapping[str, ProbeFigures]]) -> tuple[Row, ...]:
    """The judged figure of every probe before and after each step of mending."""
    return tuple(
        {"probe": name, "as it is": figure(one.auc)}
        | {step: figure(found[name].auc) if name in found else "nothing left to measure" for step, found in after}
        for name, one in before.items()
    )


def audit(
    root: Path,
    catalog: Catalog,
    cache: Path,
    *,
    mend_into: Path | None,
    treatment: Treatment,
    network: bool,
    draws: int,
    say: Say,
) -> tuple[list[Table], list[str], list[str]]:
    """Steps 1, 2 and 4: tables, notes, and the probes that fail at the end."""
    embed = imagenet_embedding() if network else None
    known, statistics = measured(root, catalog, cache, embed, say)
    found = probed(known, statistics, draws=draws)
    tables = [Table("probes", probe_rows(found))]
    counts = known.counts("label")
    notes = [
        f"{counts.get((Label.REAL,), 0)} real and {counts.get((Label.SYNTHETIC,), 0)} synthetic clips; "
        f"{len(failing(found))} of {len(found)} probes above {LIMIT:.2f}: {', '.join(failing(found)) or 'none'}."
    ]
    left = failing(found)
    if mend_into is not None:
        treated = mend(root, known, statistics, mend_into, treatment, say)
        clips, again = measured(mend_into, treated, cache, embed, say)
        plain = probed(clips, again, draws=draws)
        weights = balanced_weights(
            [[row.get(PROBES[name].group) for row in again] for name in failing(plain) if name != "file names"],
            people_of(clips),
        )
        weighted = probed(clips, again, weights, draws)
        left = failing(weighted)
        with_weights(clips, weights).save(mend_into)
        real, synthetic = effective_clips(weights, people_of(clips).synthetic_N)
        tables.append(Table("mended", mended_rows(found, ("treated", plain), ("treated and weighted", weighted))))
        notes += [
            f"Mended: {treatment.words}. Above {LIMIT:.2f} when treated: {', '.join(failing(plain)) or 'none'}; "
            f"treated and weighted: {', '.join(failing(weighted)) or 'none'}.",
            f"The weights leave {real:.0f} real and {synthetic:.0f} synthetic clips in effect "
            f"(of {len(clips)} in all); each is learned from other people's clips.",
        ]
    return tables, notes, left


def main(
    catalog: Annotated[Path, typer.Argument(help="catalog.jsonl, a CSV table, or a folder that holds one")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the JSON file")] = RESULTS / "shortcuts.json",
    root: Annotated[Path | None, typer.Option(help="folder that the paths of the catalog begin in")] = None,
    split: Annotated[str, typer.Option(help='which split; "all" for every clip')] = "all",
    cache: Annotated[Path, typer.Option(help="folder where statistics and null fakes are kept")] = Path(
        "out/shortcuts"
    ),
    mend_into: Annotated[Path | None, typer.Option("--mend", help="write a mended copy of the dataset here")] = None,
    mend_seconds: Annotated[float, typer.Option(min=0.5, help="longest clip of the mended copy")] = 3.0,
    null: Annotated[int, typer.Option(min=0, help="so many real clips of the split val as null fakes")] = 0,
    null_seconds: Annotated[float, typer.Option(min=1.0, help="only the beginning of each")] = 6.0,
    weights: Annotated[Path | None, typer.Option(help="detector of the null fakes; the shipped one by default")] = None,
    network: Annotated[bool, typer.Option(help="also probe by a frozen network, which costs most")] = True,
    gate: Annotated[
        bool, typer.Option(help="exit with 3 when a probe fails (of the mended copy, if there is one)")
    ] = False,
    draws: Annotated[int, typer.Option(min=20, help="bootstrap resamples of each interval")] = DRAWS,
) -> None:
    """Audit a dataset for shortcuts and save the tables."""

    def say(text: str) -> None:
        typer.echo(text, err=True)

    cv2.setNumThreads(1)
    try:
        folder, whole = read_dataset(catalog)
        folder = root or folder
        clips = whole.filter(lambda s: split in ("all", s.split))
        if not len(clips):
            raise DetectError(f"{catalog}: no sample is in the split {split!r}; name another one")
        # before anything long: weights that cannot be loaded are better known now
        detector = load_detector(weights) if null else None
        treatment = Treatment(seconds=mend_seconds)
        tables, notes, left = audit(
            folder, clips, cache, mend_into=mend_into, treatment=treatment, network=network, draws=draws, say=say
        )
        if detector is not None:
            real = [s for s in whole if s.label is Label.REAL and s.split in ("val", "test", None)]
            lines = score_nulls(folder, sampled(real, null), cache / "nulls", detector, null_seconds, say)
            tables.append(Table("null fakes", null_row(lines, detector.facts.threshold)))
            facts = detector.facts
            notes.append(f"Null fakes: first {null_seconds:g} s, judged by {facts.name} {facts.version}.")
        notes += [
            "Intervals: 95%, bootstrap over people. A probe learns from other makers and people than it is judged on; "
            "above 0.60 it fails. With the face masked, hair and clothes are seen, which whole-frame makers forge too."
        ]
        more = (f" --null {null}" if null else "") + (" --mend DIR" if mend_into else "")
        command = f"python -m benchmarks.shortcuts CATALOG{more}"
        Result(output.stem, command, tuple(tables), tuple(notes)).save(output.parent)
    except (DetectError, ForgeError, MediaError, ProvenanceError, OSError, ValueError) as problem:
        say(f"shortcuts: {problem}")
        raise typer.Exit(1) from None
    say(notes[0])
    if gate and left:
        raise typer.Exit(3)


if __name__ == "__main__":
    typer.run(main)
