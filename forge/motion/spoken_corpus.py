"""Make the baseline's training material: speech with the time of every viseme, from free tools on this machine.

    python -m forge.motion.spoken_corpus sentences.tsv OUT [--recordings table.csv]

`sentences.tsv` has "language<TAB>sentence" lines. Three sources, each skipped with a word on stderr when its tool is
missing:

- flite (Debian package; clustergen voices made from recordings of three speakers and two diphone voices; English);
- espeak-ng (Debian package; formant voices; any language), phone events of its library;
- recordings with transcripts (table with columns file, transcript), aligned by `pocketsphinx`.

OUT gets 16 kHz wav files and `phones.jsonl`: one line per utterance with `file`, `voice`, `language` and `visemes`, a
list of [start seconds, viseme] that covers the whole utterance.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import ctypes.util
import json
import logging
import random
import re
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forge.motion.hearing import RATE_HZ
from media.clip import Waveform

log = logging.getLogger(__name__)

Timed = list[tuple[float, str]]
"""(start seconds, viseme)."""

ARPABET: dict[str, str] = {
    "p": "p", "b": "p", "m": "p", "f": "f", "v": "f", "th": "th", "dh": "th", "t": "t", "d": "t", "n": "t", "l": "t",
    "dx": "t", "en": "t", "el": "t", "em": "p", "nx": "t", "k": "k", "g": "k", "ng": "k", "hh": "k", "hv": "k",
    "ch": "ch", "jh": "ch", "sh": "ch", "zh": "ch", "s": "s", "z": "s", "r": "r", "aa": "a", "ae": "a", "ah": "a",
    "ao": "o", "aw": "a u", "ay": "a i", "eh": "e", "er": "er", "axr": "er", "ax": "er", "ey": "e i", "ih": "i",
    "ix": "i", "iy": "i", "y": "i", "ow": "o u", "oy": "o i", "uh": "u", "uw": "u", "w": "u",
    "pau": "silence", "sil": "silence", "h#": "silence", "ssil": "silence", "brth": "silence",
}  # fmt: skip
"""CMU phone -> viseme, or two visemes of a diphthong."""

IPA: dict[str, str] = {
    **dict.fromkeys("pbmɓʘ", "p"), **dict.fromkeys("fvɱⱱʋ", "f"), **dict.fromkeys("θð", "th"),
    **dict.fromkeys("tdnlɾʈɖɳɭɗɫɬɮʎɲcɟ", "t"), **dict.fromkeys("kɡgŋxɣhɦqɢχʁħʕʔɴçʝɠ", "k"),
    **dict.fromkeys("ʃʒɕʑʂʐ", "ch"), **dict.fromkeys("sz", "s"), **dict.fromkeys("rɹɻʀ", "r"),
    **dict.fromkeys("aɑæʌɐɶɒ", "a"), **dict.fromkeys("eɛ", "e"), **dict.fromkeys("iɪɨj", "i"),
    **dict.fromkeys("oɔɤ", "o"), **dict.fromkeys("uʊɯwyʏøœɵʉɥβɸ", "u"), **dict.fromkeys("əɜɚɝɘ", "er"),
}  # fmt: skip
"""First letter of an IPA phone -> viseme."""

OPEN_TAIL = {"p", "b", "pʰ"}
"""Stops whose last quarter is the burst: the lips are already apart."""

FLITE_VOICES = ("awb", "rms", "slt", "kal16", "awb_time")
ESPEAK_VARIANTS = (
    "",
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m6",
    "m7",
    "m8",
    "klatt2",
    "klatt4",
    "iven2",
    "linda",
)


ESPEAK_CLOSURE_SECONDS = 0.055


@dataclass(frozen=True)
class Utterance:
    """Speech with the time of its visemes."""

    sound: Waveform
    visemes: Timed
    voice: str
    language: str


def spread(phone: str, visemes: str, start: float, end: float) -> Timed:
    """One phone as one or two timed visemes: diphthongs turn after 55%, oral lip stops open for their last quarter."""
    first, _, second = visemes.partition(" ")
    if second:
        return [(start, first), (start + 0.55 * (end - start), second)]
    if phone in OPEN_TAIL:
        return [(start, first), (start + 0.75 * (end - start), "er")]
    return [(start, first)]


def visemes_of_ipa(phone: str) -> str:
    """Viseme or diphthong of an IPA phone; length, tone and stress marks are ignored, what is unknown is silence."""
    plain = [letter for letter in phone if letter in IPA]
    if not plain:
        return "silence"
    if len(plain) > 1 and plain[0] in "tdʈɖ" and IPA[plain[1]] in ("ch", "s"):
        return IPA[plain[1]]
    kinds = [IPA[letter] for letter in plain]
    vowels = {"a", "e", "i", "o", "u", "er"}
    if len(kinds) > 1 and kinds[0] in vowels and kinds[1] in vowels and kinds[0] != kinds[1]:
        return f"{kinds[0]} {kinds[1]}"
    return kinds[0]


def read_wav(path: Path) -> Waveform:
    """A 16-bit wav file as mono at 16 kHz."""
    with wave.open(str(path), "rb") as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return Waveform(pcm.astype(np.float32) / 32768.0, file.getframerate()).mono().resampled(RATE_HZ)


def write_wav(sound: Waveform, path: Path) -> None:
    """Mono 16-bit wav."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.sample_rate_hz)
        file.writeframes((np.clip(sound.samples[:, 0], -1, 1) * 32767).astype("<i2").tobytes())


def speak_flite(sentence: str, voice: str, stretch: float, pitch_hz: float | None, folder: Path) -> Utterance:
    """English by flite with its phone end times."""
    path = folder / "flite.wav"
    command = ["flite", "-voice", voice, "-t", sentence, "-psdur", "-o", str(path)]
    command += ["--setf", f"duration_stretch={stretch:.2f}"]
    if pitch_hz is not None:
        command += ["--setf", f"int_f0_target_mean={pitch_hz:.0f}"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    timed: Timed = []
    start = 0.0
    for item in listing.split():
        phone, _, until = item.partition(":")
        end = float(until)
        timed += spread(phone, ARPABET[phone], start, end)
        start = end
    return Utterance(read_wav(path), timed, f"flite-{voice}", "en")


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("string", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
_RETRIEVE, _PHONEMES_AS_IPA, _LIST_END, _PHONEME, _UTF8 = 1, 3, 0, 7, 1


class Espeak:
    """The espeak-ng library: any of its languages, with the time of each phone."""

    def __init__(self) -> None:
        """Load the shared library.

        Raises:
            FileNotFoundError: when espeak-ng is not installed.
        """
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise FileNotFoundError("libespeak-ng is not installed: apt-get install espeak-ng")
        self._library = ctypes.CDLL(name)
        self._rate_hz = int(self._library.espeak_Initialize(_RETRIEVE, 0, None, _PHONEMES_AS_IPA))
        self._callback = _Callback(self._take)
        self._library.espeak_SetSynthCallback(self._callback)
        self._pcm: list[NDArray[np.int16]] = []
        self._phones: list[tuple[float, str]] = []

    def _take(self, pcm: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if count > 0 and pcm:
            self._pcm.append(np.ctypeslib.as_array(pcm, (count,)).astype(np.int16).copy())
        index = 0
        while events[index].type != _LIST_END:
            if events[index].type == _PHONEME:
                self._phones.append(
                    (events[index].sample / self._rate_hz, events[index].string.decode("utf8", "ignore"))
                )
            index += 1
        return 0

    def speak(self, sentence: str, voice: str, words_per_minute: int, pitch: int) -> Utterance:
        """One sentence in a voice such as "de+f2"."""
        self._pcm, self._phones = [], []
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        self._library.espeak_SetParameter(1, words_per_minute, 0)
        self._library.espeak_SetParameter(3, pitch, 0)
        text = sentence.encode()
        self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        pcm = np.concatenate(self._pcm).astype(np.float32) / 32768.0
        timed: Timed = []
        ends = [start for start, _ in self._phones[1:]] + [len(pcm) / self._rate_hz]
        for (start, phone), end in zip(self._phones, ends, strict=True):
            if phone.startswith("p"):
                # measured: the event of a voiceless stop comes with its burst, the closure lies before it
                closing = max(start - ESPEAK_CLOSURE_SECONDS, timed[-1][0] if timed else 0.0)
                timed += [(closing, "p"), (start, "er")]
            else:
                timed += spread(phone, visemes_of_ipa(phone), start, end)
        sound = Waveform(pcm[:, None], self._rate_hz).resampled(RATE_HZ)
        return Utterance(sound, timed or [(0.0, "silence")], f"espeak-{voice}", voice.partition("+")[0])


def align(sound: Waveform, transcript: str) -> Timed | None:
    """Visemes of a recording, or None where its words cannot be placed; without transcript they are guessed."""
    from pocketsphinx import Decoder

    pcm = (np.clip(sound.samples[:, 0], -1, 1) * 32767).astype(np.int16).tobytes()
    decoder = Decoder(lm=None, loglevel="FATAL") if transcript else Decoder(loglevel="FATAL")
    words = re.sub(r"[^a-z' ]", " ", transcript.lower().replace("-", " ")).split()
    try:
        if words:
            decoder.set_align_text(" ".join(words))
        for step in range(2):
            decoder.start_utt()
            decoder.process_raw(pcm, full_utt=True)
            decoder.end_utt()
            if step == 0:
                decoder.set_alignment()
        alignment = decoder.get_alignment()
    except RuntimeError:
        return None
    timed: Timed = [(0.0, "silence")]
    for word in alignment or ():
        for phone in word:
            name, start = phone.name.lower(), phone.start / 100
            timed += spread(name, ARPABET.get(name, "silence"), start, start + phone.duration / 100)
    return timed if len(timed) > 3 else None


def spoken_by_flite(sentences: list[str], count: int, random_: random.Random) -> Iterator[Utterance]:
    """Random English sentences, voices, tempi and pitches."""
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(count):
            voice = random_.choices(FLITE_VOICES, (4, 4, 4, 1.5, 1))[0]
            pitch = random_.uniform(85, 240) if voice in ("kal16", "slt") and random_.random() < 0.6 else None
            yield speak_flite(random_.choice(sentences), voice, random_.uniform(0.8, 1.3), pitch, Path(folder))


def spoken_by_espeak(sentences: list[tuple[str, str]], count: int, random_: random.Random) -> Iterator[Utterance]:
    """Random sentences of any language, voice variants, tempi and pitches."""
    espeak = Espeak()
    for _ in range(count):
        language, sentence = random_.choice(sentences)
        variant = random_.choice(ESPEAK_VARIANTS)
        voice = f"{language}+{variant}" if variant else language
        yield espeak.speak(sentence, voice, random_.randrange(120, 200), random_.randrange(25, 75))


def recorded(table: Path) -> Iterator[Utterance]:
    """Recordings (wav, 16 bit) with transcripts, aligned. Columns: file, transcript, optionally voice."""
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            sound = read_wav(table.parent / row["file"])
            timed = align(sound, row["transcript"])
            if timed is None:
                log.warning("%s: the transcript could not be aligned, left out", row["file"])
                continue
            yield Utterance(sound, timed, row.get("voice") or "recorded", "en")


def make_corpus(
    sentences: list[tuple[str, str]], out: Path, *, flite: int, espeak: int, tables: list[Path], seed: int
) -> int:
    """Write OUT/*.wav and OUT/phones.jsonl; the number of utterances."""
    out.mkdir(parents=True, exist_ok=True)
    sources: list[Iterator[Utterance]] = [recorded(table) for table in tables]
    english = [sentence for language, sentence in sentences if language.startswith("en")]
    if flite and shutil.which("flite"):
        sources.append(spoken_by_flite(english, flite, random.Random(seed)))
    elif flite:
        log.warning("flite is not installed (apt-get install flite): its voices are left out")
    if espeak:
        sources.append(spoken_by_espeak(sentences, espeak, random.Random(seed + 1)))
    count = 0
    with (out / "phones.jsonl").open("w") as index:
        for utterance in (utterance for source in sources for utterance in source):
            name = f"{count:05d}.wav"
            write_wav(utterance.sound, out / name)
            line = {
                "file": name,
                "voice": utterance.voice,
                "language": utterance.language,
                "visemes": [[round(start, 4), viseme] for start, viseme in utterance.visemes],
            }
            index.write(json.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    return count


def main(arguments: list[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m forge.motion.spoken_corpus", description=__doc__)
    parser.add_argument("sentences", type=Path, help='lines of "language<TAB>sentence"')
    parser.add_argument("out", type=Path)
    parser.add_argument("--recordings", type=Path, action="append", default=[], help="csv with file and transcript")
    parser.add_argument("--flite", type=int, default=500, help="number of flite utterances")
    parser.add_argument("--espeak", type=int, default=700, help="number of espeak-ng utterances")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    lines = args.sentences.read_text().splitlines()
    sentences = [(language, text) for language, _, text in (line.partition("\t") for line in lines) if text]
    count = make_corpus(
        sentences, args.out, flite=args.flite, espeak=args.espeak, tables=args.recordings, seed=args.seed
    )
    log.info("%s: %d utterances", args.out, count)


if __name__ == "__main__":
    main()
