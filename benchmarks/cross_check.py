"""Credentials read by us and by others: `python -m benchmarks.cross_check --fixtures DIR` -> `cross_check.json`.

Two other readers, neither of them a dependency, each used when it is there:

- encypher-c2pa: another implementation, in Rust, by other people. `pip install --target A encypher-c2pa==1.7.1`, then
  run with `PYTHONPATH=A`. Nothing is sent: it is called with its network off and its telemetry refused.
- @contentauth/c2pa-wasm: a later build of the library that we use, for browsers. `npm install --prefix B
  @contentauth/c2pa-wasm@0.13.3`, then `--wasm B`; needs node.

What is compared is what a reader decides, not its words: no credential, one that holds, or one that does not; and the
failure codes of the newest manifest. Nobody's trust list is used, so that "holds" means the same for all. Each
difference is listed with the sentence that `EXPLANATIONS` has for it; one without a sentence ends the run with 1.
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final
from unittest.mock import patch

import typer

from benchmarks.tables import RESULTS, Result, Row, Table
from provenance import signing
from provenance.chain import table, tables, text
from provenance.claims import Claim, SourceType
from provenance.credential import Standing, read_credential
from provenance.errors import ProvenanceError
from provenance.formats import SNIFF_BYTES, sniff_format
from provenance.identity import create_identity
from provenance.signing import sign_file
from provenance.trust import TrustAnchors

_NOT_ABOUT_THE_FILE: Final = frozenset(
    {"signingCredential.untrusted", "cawg.x509.credential.untrusted", "cawg.ica.untrusted_issuer"}
)
HOLDS, FAILS, NONE = "holds", "does not hold", "no credential"


@dataclass(frozen=True)
class Decision:
    """What one reader says about one file."""

    verdict: str
    """`HOLDS`, `FAILS` or `NONE`."""
    codes: tuple[str, ...] = ()
    """Failures of the newest manifest; a file that is refused has `general.error`."""
    said: str = field(default="", compare=False)
    """The reader's own words, where it refuses."""


Reader = Callable[[Path], Decision]


def ours(path: Path) -> Decision:
    """Our own reading."""
    credential = read_credential(path, trust=TrustAnchors.none())
    verdict = {Standing.ABSENT: NONE, Standing.BROKEN: FAILS}.get(credential.standing, HOLDS)
    failed = {one.code for one in credential.checks if one.result == "fails" and not one.of_ingredient}
    return Decision(verdict, tuple(sorted(failed - _NOT_ABOUT_THE_FILE)))


def decision_of(state: str, results: Mapping[str, Any]) -> Decision:
    """From a validation state and results in the common form."""
    failures = tables(table(results.get("activeManifest", results)).get("failure"))
    codes = {text(one.get("code")) for one in failures} - _NOT_ABOUT_THE_FILE
    return Decision(HOLDS if state in ("Valid", "Trusted") else FAILS, tuple(sorted(codes)))


def encypher() -> Reader | None:
    """The independent reader; None where it is not installed."""
    try:
        library = importlib.import_module("encypher_c2pa")
    except ImportError:
        return None
    library.set_telemetry_preference(False)

    def read(path: Path) -> Decision:
        mime = sniff_format(path.read_bytes()[:SNIFF_BYTES])
        try:
            report = library.verify(str(path), mime_type=mime, no_default_trust=True)
        except (ValueError, RuntimeError) as error:
            return Decision(FAILS, ("general.error",), str(error)[:80])
        if not report["present"]:
            return Decision(NONE)
        return decision_of(text(report["validation_state"]), table(report["validation_results"]))

    return read


_NODE_PROGRAM: Final = """
import { readFileSync } from "node:fs";
const [folder, path, mime] = process.argv.slice(-3);
const c2pa = await import(folder + "/c2pa.js");
c2pa.initSync({ module: readFileSync(folder + "/c2pa_bg.wasm") });
const settings = { verify: { remote_manifest_fetch: false, ocsp_fetch: false, verify_trust: true } };
try {
  const reader = await c2pa.WasmReader.fromBytes(mime, readFileSync(path), JSON.stringify(settings));
  process.stdout.write(reader.json());
} catch (error) {
  process.stdout.write(JSON.stringify({ error: String(error && error.message || error) }));
}
"""


def wasm(folder: Path) -> Reader:
    """The browser build under `folder/node_modules`.

    Raises:
        ProvenanceError: when it, or node, is not there.
    """
    package = folder.resolve() / "node_modules" / "@contentauth" / "c2pa-wasm" / "pkg"
    node = shutil.which("node")
    if node is None or not (package / "c2pa.js").is_file():
        advice = f"npm install --prefix {folder} @contentauth/c2pa-wasm"
        raise ProvenanceError(f"there is no node, or no {package}; {advice}")

    def read(path: Path) -> Decision:
        mime = sniff_format(path.read_bytes()[:SNIFF_BYTES]) or ""
        command = [node, "--input-type=module", "-e", _NODE_PROGRAM, "--", str(package), str(path), mime]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        try:
            report = json.loads(done.stdout)
        except ValueError:
            return Decision(FAILS, ("general.error",), f"crashed: {done.stderr[-80:]}")
        if "error" in report:
            # It reads from no other machine here: a file that only points to a credential has none.
            missing = any(word in report["error"] for word in ("JumbfNotFound", "ManifestNotFound", "RemoteManifest"))
            return Decision(NONE) if missing else Decision(FAILS, ("general.error",), report["error"][:80])
        return decision_of(text(report.get("validation_state")), table(report.get("validation_results")))

    return read


_OTHERS: Final = "encypher-c2pa"
EXPLANATIONS: Final[Mapping[tuple[str, str], str]] = {
    ("c2pa-rs__cloud.jpg", _OTHERS): "Only points to a credential elsewhere, which nobody fetches here: to us the file "
    "carries none, and the address is told; to them the credential that it should have does not hold.",
    ("c2pa-rs__libpng-test_with_url.png", _OTHERS): "As cloud.jpg.",
    ("c2pa-rs__malformed_cbor.jpg", _OTHERS): "The statement of a named creator (CAWG) is damaged. They judge such "
    "statements apart from the credential; the C2PA library, and so we, let it fail with them.",
    ("c2pa-rs__signature_mismatch.jpg", _OTHERS): "As malformed_cbor.jpg: the creator's signature does not fit.",
    (
        "c2pa-rs__success.jpg",
        _OTHERS,
    ): "They know a later form of a named creator's statement and reject this older one, "
    "apart from the credential; the C2PA library accepts it.",
    (
        "c2pa-rs__nested_moov_1000.mp4",
        _OTHERS,
    ): "A thousand boxes inside each other, and no credential. They get through "
    "and find none; the C2PA library gives up before it could find one, and a file built so is not called unsigned "
    "by us (rule 13).",
    (
        "c2pa-rs__sample3.invalid.wav",
        _OTHERS,
    ): "Shorter than its header says, and a sound file has its credential at the "
    "end: to us nothing can be checked (rule 13), to them there is none.",
    ("c2pa-rs__no_alg.jpg", _OTHERS): "Names no hash algorithm. Both refuse; they go on and name the consequences.",
    ("c2pa-rs__prerelease.jpg", _OTHERS): "Older than the standard. Both refuse; they name what it lacks.",
    ("c2pa-rs__ocsp.jpg", _OTHERS): "Signed with a certificate that has ended since, with a time-stamp of someone "
    "on no list. It holds for both; they add that the time is not proven, which we say in words.",
    (
        "c2pa-rs__update_manifest.jpg",
        _OTHERS,
    ): "An update made by a unit test, without the instance identifier that "
    "the standard asks for. They refuse it for that; the C2PA library, and so we, read it.",
    ("public-testfiles__nikon-20221019-building.jpeg", _OTHERS): "Signed with a certificate that has ended, without a "
    "time-stamp. To the C2PA library, and so to us, the credential does not hold any more; to them that is a question "
    "of trust, which was not asked.",
    ("signed by us, in pieces.mp4", _OTHERS): "They compute another hash over the pieces of a large film than the C2PA "
    "library, of whatever version, which is why only films from 128 MiB on are signed so.",
}
"""(file, reader) -> why it decides differently."""


def own_files(folder: Path) -> list[Path]:
    """One signed file of every format that we sign, for the same comparison.

    Raises:
        ProvenanceError: when one cannot be signed.
    """
    import wave

    import numpy as np
    from PIL import Image

    from benchmarks.signing import large_film

    random = np.random.default_rng(3)
    picture = Image.fromarray(random.integers(0, 255, (96, 128, 3), np.uint8))
    for ending in ("png", "jpg", "webp"):
        picture.save(folder / f"plain.{ending}")
    with wave.open(str(folder / "plain.wav"), "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", "not compressed"))
        sound.writeframes(random.integers(-9000, 9000, 16_000, np.int16).tobytes())
    large_film(folder / "plain.mp4", 1)
    identity = create_identity(folder / "identity")
    claim = Claim(source_type=SourceType.TRAINED_ALGORITHMIC_MEDIA)
    signed = []
    for path in sorted(folder.glob("plain.*")):
        signed.append(path.with_name(f"signed by us{path.suffix}"))
        sign_file(path, signed[-1], claim, identity=identity, trust=TrustAnchors.none())
    signed.append(folder / "signed by us, in pieces.mp4")
    with patch.object(signing, "IN_PIECES_FROM_BYTES", 0), patch.object(signing, "PIECE_KILOBYTES", 64):
        sign_file(folder / "plain.mp4", signed[-1], claim, identity=identity, trust=TrustAnchors.none())
    return signed


def compared(paths: Iterable[Path], readers: Mapping[str, Reader]) -> tuple[list[Row], list[Row]]:
    """A row for every file, and one for every difference."""
    rows: list[Row] = []
    differences: list[Row] = []
    for path in paths:
        mine = ours(path)
        row: dict[str, object] = {"file": path.name, "ours": mine.verdict, "failure codes": ", ".join(mine.codes)}
        for name, read in readers.items():
            theirs = read(path)
            row[name] = theirs.verdict
            if theirs != mine:
                codes = sorted(set(theirs.codes) ^ set(mine.codes))
                why = EXPLANATIONS.get((path.name, name), "")
                kind = "verdict" if theirs.verdict != mine.verdict else "codes"
                differences.append(
                    {"file": path.name, "reader": name, "differs in": kind, "theirs": theirs.verdict}
                    | {"codes that only one has": ", ".join(codes), "said": theirs.said, "why": why}
                )
        rows.append(row)
    return rows, differences


def main(
    fixtures: Annotated[Path, typer.Option(help="a folder of signed and unsigned media files")],
    wasm_folder: Annotated[Path | None, typer.Option("--wasm", help="where npm installed the browser build")] = None,
    results: Annotated[Path, typer.Option(help="folder of the JSON file")] = RESULTS,
) -> None:
    """Compare, and write `cross_check.json`; exit code 1 when a difference has no explanation."""
    readers: dict[str, Reader] = {}
    independent = encypher()
    if independent is not None:
        readers["encypher-c2pa"] = independent
    try:
        if wasm_folder is not None:
            readers["c2pa-wasm"] = wasm(wasm_folder)
        if not readers:
            raise ProvenanceError("there is no other reader; install one as the head of this module says")
        known = {".jpg", ".jpeg", ".png", ".webp", ".wav", ".mp4", ".mov"}
        with tempfile.TemporaryDirectory() as folder:
            paths = sorted(path for path in fixtures.iterdir() if path.suffix in known) + own_files(Path(folder))
            rows, differences = compared(paths, readers)
    except (ProvenanceError, OSError) as problem:
        typer.echo(f"cross_check: {problem}", err=True)
        raise typer.Exit(1) from None
    notes = (
        f"{len(rows)} files, read by {', '.join(readers)}; nobody's trust list, no network.",
        f"{sum(one['differs in'] == 'verdict' for one in differences)} verdicts differ, and "
        f"{sum(one['differs in'] == 'codes' for one in differences)} times the codes behind an equal verdict.",
    )
    command = "PYTHONPATH=A python -m benchmarks.cross_check --fixtures DIR --wasm B"
    found = (Table("what each reader decides", tuple(rows)), Table("differences", tuple(differences)))
    Result("cross_check", command, found, notes).save(results)
    unexplained = [one for one in differences if not one["why"]]
    for one in unexplained:
        typer.echo(f"no explanation: {json.dumps(one)}", err=True)
    raise typer.Exit(1 if unexplained else 0)


if __name__ == "__main__":
    typer.run(main)
