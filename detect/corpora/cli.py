"""`countermark detect corpora` and `countermark detect lint`: foreign datasets, and what leaks in any dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="corpora",
    help="Read foreign datasets, and write catalogs for others.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command("list")
def list_layouts(
    as_json: Annotated[bool, typer.Option("--json", help="Also on a terminal one JSON object a line.")] = False,
) -> None:
    """List the layouts that are recognised: what the folder holds, where to ask for it, licence, paper.

    One JSON object a line; on a terminal in words.
    """
    import sys

    from detect.corpora.known import LAYOUTS

    rows = [
        {"layout": "table", "what": "a CSV file beside clips, with at least the columns file and label"},
        {"layout": "catalog", "what": "catalog.jsonl, as `forge dataset` writes it"},
        {
            "layout": "deepfakebench",
            "what": "a json of DeepfakeBench beside its pictures",
            "ask": "https://github.com/SCLBD/DeepfakeBench",
            "licence": "non-commercial",
            "paper": "arXiv:2307.01426",
        },
    ]
    rows += [
        {"layout": one.name, "what": one.looks_like, "ask": one.ask, "licence": one.licence, "paper": one.paper}
        for one in LAYOUTS
    ]
    if as_json or not sys.stdout.isatty():
        for row in rows:
            typer.echo(json.dumps(row))
        return
    from rich.console import Console
    from rich.text import Text

    # an address that is cut to the width of a column is none
    out = Console(highlight=False, soft_wrap=True)
    for row in rows:
        out.print(Text(row["layout"], "bold"))
        out.print(Text(f"  {row['what']}"))
        if "ask" in row:
            out.print(Text(f"  {row['ask']}  {row['licence']}  {row['paper']}", "dim"))


@app.command("import")
def import_layout(
    dataset: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The dataset; or a CSV table, or a json of DeepfakeBench.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Folder for catalog.jsonl; the dataset's own folder unless given."
        ),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(metavar="NAME", help="A name of `corpora list`; recognised unless given.")
    ] = None,
    lists: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the publisher's lists, when not in FOLDER.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="published; own: shared out anew by people; test: all is tested on; none.")
    ] = "published",
    judge: Annotated[
        str, typer.Option(help="What the label is about: picture, or any (a cloned voice makes a clip synthetic).")
    ] = "picture",
    codec: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="Only clips of one compression: raw, c23 or c40.")
    ] = None,
    keep_overlap: Annotated[
        bool, typer.Option("--keep-overlap", help="Keep clips whose people are in two splits, as is often published.")
    ] = False,
    files: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder that the paths of a DeepfakeBench json begin in.")
    ] = None,
) -> None:
    """Write catalog.jsonl for a foreign dataset, so that every other command can use it.

    No person and no recording is ever in two splits; what is left out for that, and what lists name but is not there,
    is counted on stderr. Prints one JSON object with the number of clips by split and label.
    """
    from detect.cli import _fail, _must_exist, _say, one_line_errors

    with one_line_errors():
        _must_exist([path for path in (dataset, lists, files) if path is not None])
        from detect.corpora.importing import JUDGED, Wishes, import_corpus
        from detect.corpora.splitting import MODES

        for option, value, known in (("--split", split, MODES), ("--judge", judge, JUDGED)):
            if value not in known:
                _fail(f"{option} must be one of {', '.join(known)}, got {value}", 2)
        wishes = Wishes(layout, lists, split, judge, codec, keep_overlap, files)
        made = import_corpus(dataset, output, wishes, _say)
        told = {"catalog": str(made.file), "layout": made.layout, "clips": len(made.catalog), "counts": made.counts}
        typer.echo(json.dumps(told | {"missing": len(made.missing), "left_out": dict(made.left_out)}))


@app.command("export")
def export_catalog(
    catalog: Annotated[Path, typer.Argument(metavar="CATALOG", help="catalog.jsonl, a CSV table, or its folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")],
    to: Annotated[str, typer.Option("--format", help="What to write: deepfakebench.")] = "deepfakebench",
    name: Annotated[str | None, typer.Option(help="Name of the dataset; that of FILE unless given.")] = None,
    frames: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write pictures of films to; films need it.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Evenly spread pictures of each film.")] = 32,
) -> None:
    """Write a catalog for another tool: the json of DeepfakeBench, with the pictures it reads.

    Prints one JSON object with what to enter there as [bold]rgb_dir[/bold] and [bold]label_dict[/bold].
    """
    from detect.cli import _fail, _must_exist, one_line_errors

    with one_line_errors():
        _must_exist([catalog])
        if to != "deepfakebench":
            _fail(f"--format must be deepfakebench, got {to}", 2)
        from detect.corpora.deepfakebench import export_bench
        from detect.corpora.table import read_dataset

        root, samples = read_dataset(catalog)
        told = export_bench(samples, root, output, name=name or output.stem, frames=frames, count=count)
        typer.echo(json.dumps(told))


def lint(
    catalogs: Annotated[
        list[Path],
        typer.Argument(metavar="CATALOG...", help="Datasets: catalog.jsonl, a CSV table, or a folder that holds one."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON instead of a table.")] = False,
    facts_only: Annotated[
        bool, typer.Option("--facts-only", help="Do not look into the clips for near-duplicates: much faster.")
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A check whose leak is known and accepted; may be repeated."),
    ] = None,
) -> None:
    """Look for what lets a detector cheat: one person, speech or picture in two splits, files that tell the label.

    Several catalogs are judged as one dataset. Ends with 1 when something leaks that was not allowed.
    """
    from detect.cli import _fail, _must_exist, _say, one_line_errors

    with one_line_errors():
        _must_exist(catalogs)
        from detect.corpora.table import read_dataset
        from detect.leakage import CHECKS, examine, show

        for name in allow or ():
            if name not in CHECKS:
                _fail(f"--allow must be one of {', '.join(CHECKS)}, got {name}", 2)
        report = examine(
            [read_dataset(path) for path in catalogs], contents=not facts_only, allow=allow or (), say=_say
        )
        if as_json:
            typer.echo(json.dumps(report.to_json(), indent=1))
        else:
            show(report)
    if report.leaks:
        raise typer.Exit(1)
