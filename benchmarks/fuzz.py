"""Hostile input by the thousand: `python -m benchmarks.fuzz SURFACE --cases 10000`; SURFACE: manifest, media or api.

Cases run in a child that handles many of them and says before each one which it is. A child that dies or hangs is a
finding about that case; the next child goes on behind it. A finding is also an error of any kind that callers do not
expect, a message that is not one line, and an answer of the API that is not plain. The input of each finding is kept in
`tests/fuzz_corpus/SURFACE`, which the tests read again for ever. Figures go to `results/fuzz.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.tables import RESULTS, Result, Table

CORPUS: Final = Path(__file__).resolve().parents[1] / "tests" / "fuzz_corpus"
HANG_SECONDS: Final = 120.0
"""By the clock, for one case that takes milliseconds; generous, because the machine may be busy."""
MEMORY_BYTES: Final = 4 << 30
MOST_FINDINGS: Final = 500
MOST_ALIKE: Final = 2
"""Inputs kept of findings that say the same."""
CASES_A_CHILD: Final = 2500
"""A leak in a parser shows in its memory over this many cases."""

Try = Callable[[bytes], str]
"""Reads one input; returns in a word how that ended; raises what it should not."""


@dataclass(frozen=True)
class Tried:
    """What tries inputs, and what that costs: this process, or a server and the processes that it starts."""

    attempt: Try
    core_seconds: Callable[[], float]
    """Quickly told, after each case; without the checking processes of a server."""
    all_core_seconds: Callable[[], float]
    megabytes: Callable[[], float]
    """Resident."""


@dataclass(frozen=True)
class Finding:
    """One input on which something went wrong."""

    case: int
    what: str
    kept: str = ""
    """File of the corpus that holds the input."""


@dataclass(frozen=True)
class Outcome:
    """What a run of one surface showed."""

    surface: str
    cases: int
    endings: dict[str, int]
    findings: tuple[Finding, ...]
    core_seconds: float
    slowest_seconds: float
    """Processor time of the slowest case; for the API that of the server, without its checking processes."""
    grown_megabytes: float
    """Resident memory that a child, or a server, gained between its hundredth case and its last, the most of all."""

    def row(self) -> dict[str, object]:
        """As a row of the results."""
        return {
            "surface": self.surface,
            "cases": self.cases,
            "findings": len(self.findings),
            "endings": ", ".join(f"{n} {name}" for name, n in sorted(self.endings.items(), key=lambda one: -one[1])),
            "core seconds": round(self.core_seconds, 1),
            "slowest case, core s": round(self.slowest_seconds, 3),
            "memory gained, MB": round(self.grown_megabytes, 1),
        }


def run(surface: str, cases: int, *, first: int = 0, corpus: Path | None = None) -> Outcome:
    """Run so many cases of a surface, from a number on.

    Args:
        surface: manifest, media or api.
        cases: how many.
        first: number of the first; other numbers are other cases.
        corpus: folder for the inputs of findings; None keeps none.
    """
    endings: Counter[str] = Counter()
    findings: list[Finding] = []
    spent = slowest = grown = 0.0
    at, end = first, first + cases
    with TemporaryDirectory(prefix="fuzz-") as folder:

        def take(finding: Finding) -> None:
            alike = sum(other.what[:40] == finding.what[:40] for other in findings)
            findings.append(_kept(surface, finding, Path(folder), corpus, alike))
            endings["finding"] += 1

        while at < end and len(findings) < MOST_FINDINGS:
            last = min(at + CASES_A_CHILD, end)
            working = at
            for said in _child(surface, at, last, Path(folder)):
                match said:
                    case {"case": int(number)}:
                        working = number
                    case {"ending": str(ending)}:
                        endings[ending] += 1
                    case {"finding": str(what)}:
                        take(Finding(working, what))
                    case {"done": int(number), "core_seconds": float(seconds), "slowest": float(slow), "grown": gained}:
                        at, spent = number, spent + seconds
                        slowest, grown = max(slowest, slow), max(grown, float(gained))
                    case {"died": str(what)}:
                        take(Finding(working, what))
                        at = working + 1
    return Outcome(surface, at - first, dict(endings), tuple(findings), spent, slowest, grown)


def replay(surface: str, corpus: Path = CORPUS) -> int:
    """Try every kept input again, in this process, and write one JSON line for each.

    Returns:
        0 when all of them are answered as they should be, else 1.
    """
    worst = 0
    with TemporaryDirectory(prefix="fuzz-") as folder, _tried(surface, Path(folder)) as there:
        for path in sorted((corpus / surface).glob("*.bin")):
            try:
                ending = there.attempt(path.read_bytes())
            except Exception as error:  # noqa: BLE001 -- whatever escapes is what is looked for
                worst, ending = 1, f"{type(error).__name__}: {error}"[:300]
            sys.stdout.write(json.dumps({"input": path.name, "ending": ending}) + "\n")
            sys.stdout.flush()
    return worst


def _child(surface: str, first: int, last: int, folder: Path) -> Iterator[dict[str, Any]]:
    """What a child says, and how it died where it did."""
    command = [sys.executable, "-m", "benchmarks.fuzz", surface, "--child", str(first), str(last), str(folder)]
    # a session of its own: whatever a child has started, such as a server, goes with it
    starting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    with starting as child, _ended_with_all(child):
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        heard, is_done, rest = time.monotonic(), False, b""
        while True:
            if not select.select([child.stdout], [], [], 1.0)[0]:
                if time.monotonic() - heard > HANG_SECONDS:
                    yield {"died": f"hangs: nothing for {HANG_SECONDS:.0f} s"}
                    return
                continue
            block = child.stdout.read(1 << 16)
            if not block:
                break
            heard = time.monotonic()
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                said = json.loads(line)
                is_done = is_done or "done" in said
                yield said
        if not is_done:
            yield {"died": f"ends the process with status {child.wait()}"}


@contextmanager
def _ended_with_all(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a child's whole session at the end of the block, before its number can be somebody else's."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _kept(surface: str, finding: Finding, folder: Path, corpus: Path | None, alike: int) -> Finding:
    """The finding with its input in the corpus, unless enough like it are there."""
    if corpus is None or alike >= MOST_ALIKE:
        return finding
    place = corpus / surface
    place.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        told = folder / f"found-{finding.case}"
        content = (told if told.exists() else folder / "input").read_bytes()
        path = place / f"case-{finding.case}.bin"
        path.write_bytes(content)
        return Finding(finding.case, finding.what, path.name)
    return finding


def work_as_child(surface: str, first: int, last: int, folder: Path) -> None:
    """In the child: make each case, try it, say how it ended."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if surface != "api":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # libraries print on damaged files; the pipe is for what we say
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**facts: Any) -> None:
        pipe.write(json.dumps(facts) + "\n")
        pipe.flush()

    make = _maker(surface, folder)
    with _tried(surface, folder) as there:
        begun, slowest, early = there.core_seconds(), 0.0, 0.0
        for number in range(first, last):
            content = make(random.Random(f"{surface} {number}"))
            (folder / "input").write_bytes(content)
            say(case=number)
            started = there.core_seconds()
            try:
                say(ending=there.attempt(content))
            except Exception as error:  # noqa: BLE001 -- whatever escapes is what is looked for
                # the parent may be behind: the next case must not lie in its place when it comes to look
                (folder / f"found-{number}").write_bytes(content)
                say(finding=f"{type(error).__name__}: {error}"[:300])
            slowest = max(slowest, there.core_seconds() - started)
            if number - first == 100:
                early = there.megabytes()
        grown = there.megabytes() - early if early else 0.0
        say(done=last, core_seconds=there.all_core_seconds() - begun, slowest=slowest, grown=grown)
    pipe.flush()
    # native threads need no orderly end here
    os._exit(0)


def _maker(surface: str, folder: Path) -> Callable[[random.Random], bytes]:
    """Makes the input of a case."""
    if surface == "api":
        from benchmarks.fuzz_requests import request_of

        return request_of
    from benchmarks.fuzz_cases import damaged, manifest_seeds, media_seeds

    place = folder / "seeds"
    cached = sorted(place.glob("*")) if place.is_dir() else []
    if not cached:
        made = folder / "made"
        made.mkdir(exist_ok=True)
        place.mkdir()
        for seed in (manifest_seeds if surface == "manifest" else media_seeds)(made):
            (place / seed.name).write_bytes(seed.content)
        cached = sorted(place.glob("*"))
    from benchmarks.fuzz_cases import Seed

    seeds = [Seed(path.name, path.read_bytes()) for path in cached]
    return lambda chance: damaged(chance, seeds)[1]


@contextmanager
def _tried(surface: str, folder: Path) -> Iterator[Tried]:
    """What tries the inputs of a surface, for the length of a block."""
    if surface == "api":
        from benchmarks.fuzz_requests import hostile_server

        with hostile_server(folder) as there:
            server = there.server
            yield Tried(there.attempt, there.core_seconds, server.core_seconds, server.megabytes)
        return
    path = folder / "attempt"
    read = _manifest_read if surface == "manifest" else _media_read

    def attempt(content: bytes) -> str:
        path.write_bytes(content)
        return read(path, content)

    yield Tried(attempt, time.process_time, time.process_time, _resident_megabytes)


def _manifest_read(path: Path, content: bytes) -> str:
    """Read a credential: a standing, or a refusal in one line."""
    from provenance.credential import Credential, read_credential, read_manifest
    from provenance.errors import ProvenanceError
    from provenance.trust import TrustAnchors

    trust = TrustAnchors(())
    try:
        if content[4:8] == b"jumb":
            credential = read_manifest(content, trust=trust)
        else:
            credential = read_credential(path, trust=trust)
    except ProvenanceError as error:
        return _refused(str(error))
    text = json.dumps(credential.to_json())
    # what one process tells another is understood there
    Credential.from_json(json.loads(text))
    return credential.standing.value


def _media_read(path: Path, content: bytes) -> str:
    """Probe, and look at the beginning of whatever there is: pictures, sound, packets."""
    from media.clip import MediaError
    from media.packets import packet_facts
    from media.video import probe, read_image, read_waveform, stream_frames

    reads: tuple[Callable[[], object], ...] = (
        lambda: probe(path),
        lambda: [frame.image.shape for frame, _ in zip(stream_frames(path, max_side=128), range(12), strict=False)],
        lambda: read_waveform(path, max_bytes=8 << 20),
        lambda: packet_facts(path),
        lambda: read_image(path),
    )
    understood = 0
    for read in reads:
        try:
            read()
            understood += 1
        except MediaError as error:
            _refused(str(error))
    return "nothing read" if not understood else "partly read" if understood < 2 else "read"


def _refused(line: str) -> str:
    """A refusal has to be one plain line.

    Raises:
        AssertionError: when it is not.
    """
    if not line or "\n" in line or "Traceback" in line or len(line) > 1000:
        raise AssertionError(f"no plain line: {line[:200]!r}")
    return "refused"


def _resident_megabytes() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _save(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Write the results, keeping those of surfaces that were not run this time."""
    rows = {outcome.surface: outcome.row() for outcome in outcomes}
    path = folder / "fuzz.json"
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        rows = {**{str(row["surface"]): row for row in before["tables"][0]["rows"]}, **rows}
    notes = (
        "A finding is a crash, a hang, an error that callers do not expect, or an answer that is not one plain line.",
        "Inputs of findings are kept in tests/fuzz_corpus and are read again by the tests.",
        "api: requests byte by byte to a real `countermark serve`; memory and slowest case are those of the server "
        "itself, core seconds hold all checking processes.",
    )
    told = [
        {"surface": outcome.surface, "case": one.case, "what": one.what, "kept": one.kept}
        for outcome in outcomes
        for one in outcome.findings
        if one.kept
    ]
    tables = [Table("cases by surface", tuple(rows[name] for name in sorted(rows)))]
    if told:
        tables.append(Table("findings of the last run", tuple(told)))
    Result("fuzz", "python -m benchmarks.fuzz SURFACE --cases 10000", tuple(tables), notes).save(folder)


def main(words: Sequence[str] | None = None) -> int:
    """Run, keep what failed, save."""
    words = list(sys.argv[1:] if words is None else words)
    parser = argparse.ArgumentParser(description="Hostile input by the thousand.")
    parser.add_argument("surface", choices=["manifest", "media", "api"])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case; other numbers, other cases")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="folder for the inputs of findings")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file")
    parser.add_argument("--replay", action="store_true", help="only try the kept inputs again")
    parser.add_argument("--child", nargs=3, metavar=("FIRST", "LAST", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.child:
        first, last, folder = options.child
        work_as_child(options.surface, int(first), int(last), Path(folder))
    if options.replay:
        status = replay(options.surface, options.corpus)
        sys.stdout.flush()
        return status
    outcome = run(options.surface, options.cases, first=options.first, corpus=options.corpus)
    _save([outcome], options.out)
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
