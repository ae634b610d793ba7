"""Recordings of people with their transcripts, in any language of espeak-ng: the words are placed by forced alignment.

    recordings = recordings_of_table(table)      # csv with file, transcript, voice, language, license
    recordings += debian_recordings(Path("/"))
    for utterance in spoken(recordings, minutes_a_voice=2.5, random_=random.Random(0), aligner=Aligner()):
        ...

`debian_recordings` finds what these free Debian packages bring: telephone prompts read by professional speakers
(asterisk-core-sounds-LANGUAGE with -g722; English, Spanish, French, Italian, Russian) and the actors of the game Fish
Fillets (fillets-ng-data with -cs and -nl; Czech, Dutch). The times are only as good as the listener: an utterance
whose words it does not recognise (`LEAST_CONFIDENCE`) is left out.
"""

from __future__ import annotations

import csv
import gzip
import logging
import random
import re
import struct
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from forge.motion.alignment import align_visemes
from forge.motion.hearing import RATE_HZ, hear
from forge.motion.listener import Listener, viseme_chances
from forge.motion.pronunciation import Espeak, Utterance, mouth_of
from media.clip import MediaError, Waveform
from media.sound import read_waveform

log = logging.getLogger(__name__)

LEAST_CONFIDENCE = 0.25
"""Below it the transcript may be of something else, or the listener does not understand this voice. On 35 sentences of
a neural voice none of the right transcripts and 83% of those of another sentence fall below it."""
G722_TAG, G722_RATE_HZ, G722_BYTES_A_SECOND = 0x028F, 16_000, 8_000
SHORTEST_SECONDS, LONGEST_SECONDS = 0.8, 16.0

ASTERISK_LANGUAGES = {"en": "en-us", "es": "es-419", "fr": "fr", "it": "it", "ru": "ru"}
"""Package suffix -> espeak-ng language."""
ASTERISK_LICENSES = {"ru": "CC-BY-3.0"}
ASTERISK_LICENSE = "CC-BY-SA-3.0"
FILLETS_LICENSE = "GPL-2.0-or-later"
FILLETS_LINE = re.compile(
    r'dialogId\("([^"]+)",\s*"([^"]*)",\s*"((?:[^"\\]|\\.)*)"\)\s*(?:dialogStr\("((?:[^"\\]|\\.)*)"\))?'
)
"""Name of the sound, kind of letters (one for each character), English text, translation."""


@dataclass(frozen=True)
class Recording:
    """A sound file and what is said in it."""

    file: Path
    transcript: str
    voice: str
    language: str
    """Of espeak-ng: "en-us", "cs"."""
    license: str

    def __post_init__(self) -> None:
        """Refuse a recording without words."""
        if not self.transcript.strip():
            raise ValueError(f"{self.file} has no transcript: give the words that are said in it")


def recordings_of_table(table: Path) -> list[Recording]:
    """Rows of a csv table with columns file, transcript and, if known, voice, language and license."""
    with table.open(newline="") as file:
        return [
            Recording(
                table.parent / row["file"],
                row["transcript"],
                row.get("voice") or "recorded",
                row.get("language") or "en-us",
                row.get("license") or "not stated",
            )
            for row in csv.DictReader(file)
            if row["transcript"].strip()
        ]


def debian_recordings(root: Path) -> list[Recording]:
    """What the packages named above left under a root: "/" where they are installed, or where `dpkg -x` put them."""
    return [*_asterisk(root / "usr/share"), *_fillets(root / "usr/share/games/fillets-ng")]


def _asterisk(share: Path) -> Iterator[Recording]:
    """Prompts beside the lists `core-sounds-en.txt.gz`; [sounds without words] and (remarks) are left out."""
    for short, language in ASTERISK_LANGUAGES.items():
        listing = share / f"doc/asterisk-core-sounds-{short}/core-sounds-{short}.txt.gz"
        folders = sorted((share / "asterisk/sounds").glob(f"{short}_*"))
        if not listing.exists() or not folders:
            continue
        for line in gzip.decompress(listing.read_bytes()).decode("utf8", "replace").splitlines():
            name, _, text = line.partition(":")
            file = folders[0] / f"{name.strip()}.g722"
            if line.startswith(";") or re.search(r"[\[\](<]", text) or not text.strip() or not file.exists():
                continue
            license_ = ASTERISK_LICENSES.get(short, ASTERISK_LICENSE)
            yield Recording(file, text.strip(), f"asterisk-{folders[0].name}", language, license_)


def _fillets(game: Path) -> Iterator[Recording]:
    """Dialogues of the game: the sound's name, the character and the words stand in its Lua scripts."""
    for language in ("cs", "nl"):
        for script in sorted((game / "script").rglob(f"dialogs_{language}.lua")):
            sounds = game / "sound" / script.parent.relative_to(game / "script") / language
            for name, letters, _, words in FILLETS_LINE.findall(script.read_text(encoding="utf8", errors="replace")):
                file = sounds / f"{name}.ogg"
                if words.strip() and file.exists():
                    voice = f"fillets-{language}-{letters.removeprefix('font_')}"
                    yield Recording(file, words.replace('\\"', '"'), voice, language, FILLETS_LICENSE)


def read_recording(path: Path) -> Waveform:
    """Any sound file as mono at 16 kHz; files of bare G.722, which libav takes for other things, get a wav header.

    Raises:
        MediaError: when the file cannot be read.
    """
    if path.suffix != ".g722":
        return read_waveform(path).mono().resampled(RATE_HZ)
    data = path.read_bytes()
    facts = struct.pack("<HHIIHHH", G722_TAG, 1, G722_RATE_HZ, G722_BYTES_A_SECOND, 1, 4, 0)
    chunks = b"WAVEfmt " + struct.pack("<I", len(facts)) + facts + b"data" + struct.pack("<I", len(data)) + data
    with tempfile.TemporaryDirectory() as folder:
        wrapped = Path(folder) / "sound.wav"
        wrapped.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
        return read_waveform(wrapped).mono().resampled(RATE_HZ)


class Aligner:
    """Places transcripts on the time line of their recordings."""

    def __init__(self, least_confidence: float = LEAST_CONFIDENCE, listener: Listener | None = None) -> None:
        """Load espeak-ng; without a listener the one that ships with the package listens.

        Raises:
            FileNotFoundError: when espeak-ng is not installed.
        """
        self._espeak = Espeak()
        self._least = least_confidence
        self._listener = listener

    def utterance(self, recording: Recording) -> Utterance | None:
        """The recording with timed visemes, or None with a word in the log where its words were not found in it."""
        try:
            sound = read_recording(recording.file)
        except MediaError as error:
            log.warning("%s, left out", error)
            return None
        if not SHORTEST_SECONDS <= float(sound.duration_seconds) <= LONGEST_SECONDS:
            return None
        clauses = self._espeak.pronounce(recording.transcript, recording.language)
        words = [[viseme for phone in word for viseme in mouth_of(phone)] for clause in clauses for word in clause]
        aligned = align_visemes(viseme_chances(hear(sound), self._listener), words)
        if aligned is None or aligned.confidence < self._least:
            log.info("%s: the transcript was not recognised, left out", recording.file)
            return None
        return Utterance(
            sound, aligned.visemes, recording.voice, recording.language, recording.license, aligned.confidence
        )


def spoken(
    recordings: Iterable[Recording], *, minutes_a_voice: float, random_: random.Random, aligner: Aligner
) -> Iterator[Utterance]:
    """Recordings in random order, as many minutes of each voice; no sentence of a voice twice."""
    voices: dict[str, dict[str, Recording]] = defaultdict(dict)
    for recording in recordings:
        voices[recording.voice].setdefault(recording.transcript.lower(), recording)
    for voice in sorted(voices):
        lines = list(voices[voice].values())
        random_.shuffle(lines)
        left = 60.0 * minutes_a_voice
        for utterance in (aligner.utterance(line) for line in lines):
            if utterance is None:
                continue
            left -= float(utterance.sound.duration_seconds)
            if left < 0:
                break
            yield utterance
