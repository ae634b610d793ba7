"""`countermark detect`: train, evaluate, score, check, and read foreign datasets.

Machine output (JSON, JSON Lines) goes to stdout, talk to stderr. Exit codes of every verb: 0 done, 1 it could not be
done (one line on stderr says why), 2 the command was given wrongly. A verdict is never an exit code.
"""

from __future__ import annotations

import itertools
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detect.corpora.cli import app as corpora
from detect.corpora.cli import lint

if TYPE_CHECKING:
    from rich.console import Console

    from detect.models.frame import FrameDetector
    from detect.report import Report

app = typer.Typer(
    name="detect",
    help="Judge clips: is this talking head synthetic, how sure is that, and on what evidence.\n\n"
    "Exit codes: 0 done, whatever was found; 1 it could not be done; 2 the command was given wrongly.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="Weights made by `detect train`; the shipped ones unless given."),
]

WorkersOption = Annotated[
    int | None, typer.Option(min=1, max=4096, help="Processes side by side: 1, or on a cluster every core.")
]
RayOption = Annotated[
    str | None,
    typer.Option(help="Work on a Ray cluster: its address, auto (this machine's) or local (start one here)."),
]

TONES = {
    "declared_synthetic": "magenta",
    "synthetic_likely": "red",
    "credential_broken": "dark_orange",
    "undecided": "yellow",
    "no_sign_of_synthesis": "cyan",
}
"""Colour of a finding in the terminal; none is green, since none means "real"."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Video or picture to check.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of words.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Also write a one-file HTML report.")
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option("--trust", metavar="PEM", help="Also believe the signers of these authorities; may be repeated."),
    ] = None,
    weights: WeightsOption = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability from which a score is high; the model's own unless given.")
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of synthetic files where this one comes from, e.g. 0.01: says what the score is worth there.",
        ),
    ] = None,
) -> None:
    """Check one file: credentials first, then metadata, then pixels, then a verdict with its reasons.

    A verdict is never "real": [bold]no sign of synthesis[/bold] means that nothing was seen.
    """
    with one_line_errors():
        _must_exist([file])
        if html is not None:
            _must_be_writable(html, [file])
        from detect.check import check_file
        from detect.report import write_html
        from detect.verdict import Policy
        from provenance.trust import TrustAnchors

        if threshold is not None and not 0.0 < threshold < 1.0:
            _fail(f"--threshold must lie between 0 and 1, got {threshold:g}", 2)
        if prevalence is not None and not 0.0 < prevalence < 1.0:
            _fail(f"--prevalence must lie between 0 and 1, e.g. 0.01 for one file in a hundred, got {prevalence:g}", 2)
        policy = Policy.around(threshold) if threshold is not None else None
        anchors = TrustAnchors.default(extra=trust) if trust else None
        with _talk().status("Loading the detector") as status:
            detector = _detector(weights)
            report = check_file(
                file,
                detector,
                policy=policy,
                trust=anchors,
                with_pictures=html is not None,
                prevalence=prevalence,
                progress=lambda step: status.update(step),
            )
        if html is not None:
            write_html(report, html)
        if as_json:
            typer.echo(json.dumps(report.to_json(), indent=2))
        else:
            show(report)
        if html is not None:
            _say(f"Report written to {html}")


@app.command()
def score(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATHS...", help="Files, and folders to search for them.", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where the lines go; run again to go on. Stdout unless given."
        ),
    ] = None,
    weights: WeightsOption = None,
    workers: WorkersOption = None,
    ray: RayOption = None,
) -> None:
    """Score many files: one JSON object a line, in the order asked for.

    Each line has [bold]file, probability[/bold] (of synthetic; null when abstained), [bold]status, reason, faces,
    seconds_of_video, core_seconds, sha256, model[/bold]. Ends with 0 when every file got an answer, also an abstention.
    """
    with one_line_errors():
        _must_exist(paths)
        from detect.scoring import Line, ScoreFile, files_under, score_files
        from media.places import place_of

        place = place_of(workers=workers, ray=ray)

        files = files_under(paths)
        if output is not None:
            _must_be_writable(output, files)
        factory = _DetectorFactory(weights)
        sha256 = factory().facts.sha256
        with _progress(len(files)) as tell:
            if output is None:

                def echo(line: Line) -> None:
                    typer.echo(json.dumps(line))

                tally = score_files(files, factory, echo, place=place, tell=tell)
            else:
                target = ScoreFile(output, files, sha256)
                with target.writing() as write:
                    tally = score_files(files, factory, write, place=place, known=target.known, tell=tell)
        before = f", {tally.answered_before} of them from before" if tally.answered_before else ""
        _say(
            f"{tally.files} {'file' if tally.files == 1 else 'files'}{before}; {tally.abstained} abstained"
            + (f"; {tally.errors} failed" if tally.errors else "")
        )
    if not tally.every_file_has_an_answer:
        raise typer.Exit(1)


@app.command()
def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Name of a recipe: frame_cpu, frame_gpu or frame_tiny.")
    ],
    catalogs: Annotated[
        list[Path],
        typer.Argument(metavar="CATALOG...", help="Datasets: catalog.jsonl, a CSV table, or a folder that holds one."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for weights, log and checkpoint.")
    ],
    minutes: Annotated[
        float,
        typer.Option("--time-budget-minutes", "--minutes", min=0.01, help="For the network; preparing comes on top."),
    ] = 90.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in DIR.")] = False,
    seed: Annotated[int, typer.Option(help="Of every draw.")] = 0,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of prepared crops, shared by runs; inside DIR unless given."),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(metavar="WEIGHTS", help="Keep the network of these weights (or of: shipped), fit the rest."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="WEIGHTS", help="Start training from the network of these weights (or of: shipped)."),
    ] = None,
    version: Annotated[str | None, typer.Option(help="Recorded with the weights and in every report.")] = None,
    workers: WorkersOption = None,
    ray: RayOption = None,
) -> None:
    """Train a detector on the training split of one or more datasets.

    With [bold]--network[/bold] only what weighs a network's answers against motion is fitted, with probability and
    threshold: the time budget is not used, preparing takes 5 core-seconds a clip.
    Prints one JSON object: where the weights are, and their figures on held-out makers and people.
    """
    with one_line_errors():
        _must_exist(catalogs)
        if network is not None:
            if resume:
                _fail("--resume goes on with training a network, and --network keeps one; leave one of them out", 2)
            if start is not None:
                _fail("--start trains a network further, and --network keeps one; leave one of them out", 2)
        _must_exist([Path(weights) for weights in (network, start) if weights and weights != "shipped"])
        from detect.corpora.table import read_dataset
        from detect.recipes import recipe_named

        chosen = recipe_named(recipe)
        datasets = [read_dataset(path) for path in catalogs]
        from detect.load import shipped_weights
        from detect.train import train as run_training
        from media.places import place_of

        def file_of(weights: str | None) -> Path | None:
            return None if weights is None else shipped_weights() if weights == "shipped" else Path(weights)

        weights = run_training(
            chosen,
            datasets,
            output,
            minutes=minutes,
            resume=resume,
            seed=seed,
            cache=cache,
            network=file_of(network),
            start=file_of(start),
            version=version,
            say=_say,
            place=place_of(workers=workers, ray=ray),
        )
        described = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
        typer.echo(json.dumps({"weights": str(weights), **{key: described[key] for key in ("threshold", "figures")}}))


@app.command()
def evaluate(
    weights: Annotated[
        str, typer.Argument(metavar="WEIGHTS", help="A .safetensors file of `detect train`, or the word: shipped.")
    ],
    catalogs: Annotated[
        list[Path],
        typer.Argument(metavar="CATALOG...", help="Datasets: catalog.jsonl, a CSV table, or a folder that holds one."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for scores.jsonl and figures.json.")
    ] = Path("evaluation"),
    split: Annotated[str, typer.Option(help="Which split to measure; the word: all.")] = "val",
) -> None:
    """Measure a detector: AUC, EER, AP, rates at the threshold, Brier, ECE, with intervals, by maker and by codec.

    Prints the figures as one JSON object; trivial answers (file size, sharpness, colour) stand beside them.
    """
    with one_line_errors():
        _must_exist(catalogs)
        from detect.corpora.table import read_dataset

        datasets = [read_dataset(path) for path in catalogs]
        from detect.evaluate import evaluate as run_evaluation

        detector = _detector(None if weights == "shipped" else Path(weights))
        figures = run_evaluation(detector, datasets, output, split=None if split == "all" else split, say=_say)
        typer.echo(json.dumps(figures, indent=1))


@app.command()
def unseen(
    catalogs: Annotated[
        list[Path],
        typer.Argument(metavar="CATALOG...", help="Datasets: catalog.jsonl, a CSV table, or a folder that holds one."),
    ],
    weights: Annotated[
        str, typer.Option(metavar="WEIGHTS", help="Whose network and fusion are kept; the word: shipped.")
    ] = "shipped",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for scores.jsonl and figures.json.")
    ] = Path("unseen"),
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of prepared crops, shared by runs; inside DIR unless given."),
    ] = None,
    lessons: Annotated[
        bool, typer.Option("--lessons/--no-lessons", help="Teach forgeries in time of the real clips, or not.")
    ] = True,
    workers: WorkersOption = None,
    ray: RayOption = None,
) -> None:
    """Leave out each maker in turn, and people with it: how the way of training does on makers nobody has seen.

    All splits are used, and everything is left out once. Preparing takes 5 core-seconds a clip and 20 a real one,
    fitting 5 core-seconds for each maker and fold.
    Prints the figures as one JSON object: each maker, the mean, the worst.
    """
    with one_line_errors():
        _must_exist(catalogs)
        from detect.corpora.table import read_dataset

        datasets = [read_dataset(path) for path in catalogs]
        from detect.protocols import unseen_makers_of
        from media.places import place_of

        detector = _detector(None if weights == "shipped" else Path(weights))
        place = place_of(workers=workers, ray=ray)
        figures = unseen_makers_of(detector, datasets, output, cache=cache, with_lessons=lessons, say=_say, place=place)
        typer.echo(json.dumps(figures, indent=1))


app.add_typer(corpora)
app.command()(lint)


def show(report: Report) -> None:
    """Print a report in words on stdout."""
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    from detect.prevalence import in_words
    from detect.report import STANDING_WORDS, printable
    from detect.verdict import in_clock, in_percent, named_signer

    out = Console(highlight=False)
    tone = TONES[report.verdict.finding.value]
    lines = [Text(printable(sentence)) for sentence in report.verdict.because]
    title = Text(report.verdict.finding.headline, style=f"bold {tone}")
    out.print(
        Panel(
            Group(*lines),
            title=title,
            subtitle=Text(printable(Path(report.file).name)),
            border_style=tone,
            padding=(1, 2),
        )
    )
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    credential = report.credential
    if credential is None:
        table.add_row("credentials", "cannot be read in a file of this kind")
    else:
        signer = f" ({printable(named_signer(credential))})" if credential.signer else ""
        table.add_row("credentials", Text(STANDING_WORDS[credential.standing] + signer))
    probability = report.verdict.probability
    detectors = in_percent(probability) if probability is not None else f"no answer: {report.score.reason}"
    table.add_row("detectors", Text(f"{detectors} ({report.model.name} {report.model.version})"))
    reading = report.reading()
    for position, sentence in enumerate(reading.sentences if reading else ()):
        table.add_row("" if position else "that is", Text(sentence))
    for position, (rate, value) in enumerate(() if reading else report.read_at_base_rates()[1:]):
        table.add_row(
            "" if position else "that is",
            Text(f"{in_percent(value)} where {in_words(rate)} files is synthetic", style="dim"),
        )
    for face in report.score.faces if len(report.score.faces) > 1 else ():
        judged = in_percent(face.probability) if face.probability == face.probability else f"not judged: {face.reason}"
        table.add_row(
            f"face {face.track + 1}", Text(f"{judged}, {in_clock(face.first_second)} to {in_clock(face.last_second)}")
        )
    if report.when():
        table.add_row("when", Text(report.when()))
    if report.score.timeline:
        table.add_row("timeline", Text(sparkline([point.probability for point in report.score.timeline])))
    table.add_row(
        "the file", Text(", ".join(f"{fact.name.lower()} {printable(fact.value)}" for fact in report.facts.facts))
    )
    out.print(table)
    if report.verdict.finding.value == "no_sign_of_synthesis":
        out.print(Text("This does not mean that it is real.", style="bold"))


def sparkline(probabilities: Sequence[float], width: int = 60) -> str:
    """A timeline in one line of text: higher blocks are more suspicious; long ones keep the highest of each part."""
    known = [0.0 if p != p else p for p in probabilities]
    parts = min(width, len(known))
    bounds = [len(known) * i // parts for i in range(parts + 1)] if parts else []
    highest = [max(known[low:high]) for low, high in itertools.pairwise(bounds)]
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(p * 8))] for p in highest)


class _DetectorFactory:
    """Loads a detector; picklable, so that worker processes can."""

    def __init__(self, weights: Path | None) -> None:
        self._weights = weights

    def __call__(self) -> FrameDetector:
        return _detector(self._weights)


def _detector(weights: Path | None) -> FrameDetector:
    from detect.load import load_detector

    return load_detector(weights)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an expected error into one line on stderr and exit code 1."""
    from detect.detector import DetectError
    from media.clip import MediaError
    from provenance.errors import ProvenanceError

    try:
        with warnings.catch_warnings():
            # libraries warn about damaged files; the answer says it, and stderr belongs to the person
            warnings.simplefilter("ignore")
            yield
    except (DetectError, MediaError, ProvenanceError) as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        # the reader of stdout has gone, e.g. `| head`: nothing is left to say, and nobody to say it to
        raise typer.Exit(1) from None
    except OSError as error:
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", 1)


def _fail(message: str, code: int) -> None:
    from detect.report import printable

    typer.echo(f"Error: {printable(' '.join(message.split()))}", err=True)
    raise typer.Exit(code)


def _say(message: str) -> None:
    from detect.report import printable

    typer.echo(printable(message), err=True)


def _must_exist(paths: Sequence[Path]) -> None:
    """End with 2 where a path that was given does not exist."""
    for path in paths:
        try:
            missing = not os.path.lexists(path)
        except ValueError:
            missing = True
        if missing:
            _fail(f"{path} does not exist; check the spelling", 2)


def _must_be_writable(output: Path, inputs: Sequence[Path]) -> None:
    """End with 2 before any work where the output cannot be written, or would replace an input."""
    if output.is_dir():
        _fail(f"{output} is a folder; name a file to write to", 2)
    if not output.absolute().parent.is_dir():
        _fail(f"the folder {output.absolute().parent} does not exist; make it first", 2)
    if output.exists() and any(path.exists() and output.samefile(path) for path in inputs):
        _fail(f"{output} is one of the files to look at; write somewhere else", 2)


def _talk() -> Console:
    from rich.console import Console

    return Console(stderr=True)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """A bar on stderr with files a second and the time left; yields a function that is told each finished file."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("Scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_talk(), transient=True) as bar:
        task = bar.add_task("Scoring", total=total)
        yield lambda file: bar.advance(task)
