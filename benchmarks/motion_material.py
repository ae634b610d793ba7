"""What the motion benchmark is run on: utterances, aligned speech, filmed people, portraits.

Every utterance has a cluster (whoever speaks it): intervals draw whole clusters.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forge.motion.pronunciation import Timed
from forge.train_motion import is_held_out
from media.clip import Waveform
from media.video import read_waveform

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".m4a")
SHORTEST_SECONDS = 1.5


@dataclass(frozen=True, eq=False)
class Utterance:
    """Somebody says something."""

    name: str
    cluster: str
    """Who speaks, as far as is known."""
    language: str
    kind: str
    """speech, singing, noisy speech and so on, as the table says; `clip` for the sound of a filmed person."""
    sound: Waveform
    visemes: Timed | None = None
    """Known times of its sounds."""

    def shortened(self, seconds: float) -> Utterance:
        """The first seconds of it."""
        samples = round(seconds * self.sound.sample_rate_hz)
        if len(self.sound.samples) <= samples:
            return self
        sound = Waveform(self.sound.samples[:samples], self.sound.sample_rate_hz)
        known = [(start, viseme) for start, viseme in self.visemes if start < seconds] if self.visemes else None
        return Utterance(self.name, self.cluster, self.language, self.kind, sound, known)


def read_utterances(folder: Path) -> list[Utterance]:
    """Every sound of a folder of 1.5 s or more; `speech.csv` beside them tells language and kind where it is.

    Raises:
        MediaError: when a sound cannot be read.
    """
    facts: dict[str, dict[str, str]] = {}
    if (folder / "speech.csv").is_file():
        with (folder / "speech.csv").open(newline="", encoding="utf-8") as table:
            facts = {row["file"]: row for row in csv.DictReader(table)}
    found = []
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SOUNDS):
        sound = read_waveform(path)
        if sound.duration_seconds < SHORTEST_SECONDS:
            continue
        row = facts.get(path.name, {})
        kind = row.get("kind", "speech")
        # one reader of all read sentences is one cluster; of the others nobody knows, each is taken as its own
        cluster = "reader" if kind == "read speech" else path.stem
        found.append(Utterance(path.stem, cluster, row.get("language", "unknown"), kind, sound))
    return found


def spread_over_kinds(utterances: Sequence[Utterance], count: int) -> list[Utterance]:
    """`count` utterances, languages and kinds in turn, so that a few stand for all."""
    groups: dict[tuple[str, str], list[Utterance]] = {}
    for utterance in utterances:
        groups.setdefault((utterance.language, utterance.kind), []).append(utterance)
    order = [
        group[i]
        for i in range(max(map(len, groups.values()), default=0))
        for group in groups.values()
        if i < len(group)
    ]
    return order[:count]


def read_aligned(folders: Sequence[Path], count: int, *, everyone: bool = False) -> list[Utterance]:
    """Utterances of `forge.motion.spoken_corpus` whose voices no network learned from, spread over the voices.

    Args:
        folders: of the corpora.
        count: at most so many.
        everyone: also voices that are not held out.

    Raises:
        OSError: when a corpus cannot be read.
    """
    by_voice: dict[str, list[tuple[Path, dict[str, object]]]] = {}
    for folder in folders:
        for text in (folder / "phones.jsonl").read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            if everyone or is_held_out(str(line["voice"])):
                by_voice.setdefault(str(line["voice"]), []).append((folder, line))
    turns = [
        voices[i]
        for i in range(max(map(len, by_voice.values()), default=0))
        for voices in by_voice.values()
        if i < len(voices)
    ]
    found: list[Utterance] = []
    for folder, line in turns:
        if len(found) == count:
            break
        sound = read_waveform(folder / str(line["file"]))
        if sound.duration_seconds < SHORTEST_SECONDS:
            continue
        visemes = line["visemes"]
        assert isinstance(visemes, list)
        timed = [(float(start), str(viseme)) for start, viseme in visemes]
        name = f"{folder.name}_{Path(str(line['file'])).stem}"
        found.append(Utterance(name, str(line["voice"]), str(line["language"]), "aligned", sound, timed))
    return found
