"""Make the baseline's training material: speech with the time of every viseme, from free tools on this machine.

    python -m forge.motion.spoken_corpus sentences.tsv OUT [--recordings table.csv] [--debian /] [--kokoro FOLDER ...]

`sentences.tsv` has "language<TAB>sentence" lines. The sources, each skipped with a word on stderr when its tool is
missing:

- flite (Debian package; clustergen voices made from recordings of three speakers and two diphone voices; English);
- espeak-ng (Debian package; formant voices; any language), phone events of its library;
- recordings of people with transcripts in any language of espeak-ng, aligned (`recorded_speech`);
- Kokoro, a neural voice with 54 speakers of nine languages and their mixtures (`neural_voices`);
- English recordings without transcripts, whose words `pocketsphinx` guesses.

OUT gets 16 kHz wav files and `phones.jsonl`: one line per utterance with `file`, `voice`, `language`, `license`,
`confidence` and `visemes`, a list of [start seconds, viseme] that covers the whole utterance.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from forge.motion.listener import Listener
from forge.motion.neural_voices import Kokoro, spoken_by_kokoro
from forge.motion.pronunciation import (
    ARPABET,
    IPA,
    Espeak,
    Timed,
    Utterance,
    read_wav,
    spread,
    visemes_of_ipa,
    write_wav,
)
from forge.motion.recorded_speech import LEAST_CONFIDENCE, Aligner, debian_recordings, recordings_of_table, spoken
from media.clip import Waveform

__all__ = ["ARPABET", "IPA", "Timed", "Utterance", "read_wav", "spread", "visemes_of_ipa", "write_corpus", "write_wav"]

log = logging.getLogger(__name__)

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


def guess(sound: Waveform) -> Timed | None:
    """Visemes of English speech whose words nobody wrote down, or None where none were recognised."""
    from pocketsphinx import Decoder

    pcm = (np.clip(sound.samples[:, 0], -1, 1) * 32767).astype(np.int16).tobytes()
    decoder = Decoder(loglevel="FATAL")
    try:
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


def guessed(folder: Path) -> Iterator[Utterance]:
    """English recordings (wav, 16 bit) without transcripts: pocketsphinx guesses words and their times."""
    for path in sorted(folder.glob("*.wav")):
        sound = read_wav(path)
        timed = guess(sound)
        if timed is None:
            log.warning("%s: no words were recognised, left out", path)
            continue
        yield Utterance(sound, timed, folder.name, "en", "not stated")


def write_corpus(utterances: Iterable[Utterance], out: Path) -> int:
    """Write OUT/*.wav and OUT/phones.jsonl as they come; the number of utterances."""
    out.mkdir(parents=True, exist_ok=True)
    count = 0
    with (out / "phones.jsonl").open("w") as index:
        for utterance in utterances:
            name = f"{count:05d}.wav"
            write_wav(utterance.sound, out / name)
            line = {
                "file": name,
                "voice": utterance.voice,
                "language": utterance.language,
                "license": utterance.license,
                "confidence": round(utterance.confidence, 3),
                "visemes": [[round(start, 4), viseme] for start, viseme in utterance.visemes],
            }
            index.write(json.dumps(line, ensure_ascii=False) + "\n")
            index.flush()
            count += 1
    return count


def sources(sentences: list[tuple[str, str]], args: argparse.Namespace) -> Iterator[Iterator[Utterance]]:
    """Everything that was asked for and is there; what is not is told in the log."""
    held = {voice for voice in args.voices.split(",") if voice}
    recordings = [row for table in args.recordings for row in recordings_of_table(table)]
    for root in args.debian:
        found = debian_recordings(root)
        if not found:
            log.warning("%s: no recordings of asterisk-core-sounds or fillets-ng there, left out", root)
        recordings += found
    if recordings:
        kept = [recording for recording in recordings if (recording.voice in held) != args.without or not held]
        listener = Listener.from_bytes(args.listener.read_bytes()) if args.listener else None
        aligner = Aligner(args.least_confidence, listener)
        yield spoken(kept, minutes_a_voice=args.minutes, random_=random.Random(args.seed), aligner=aligner)
    for folder in args.guessed:
        yield guessed(folder)
    english = [sentence for language, sentence in sentences if language.startswith("en")]
    if args.flite and shutil.which("flite"):
        yield spoken_by_flite(english, args.flite, random.Random(args.seed))
    elif args.flite:
        log.warning("flite is not installed (apt-get install flite): its voices are left out")
    if args.espeak:
        yield spoken_by_espeak(sentences, args.espeak, random.Random(args.seed + 1))
    if args.kokoro and args.neural and not (args.kokoro / "kokoro.onnx").exists():
        log.warning("%s has no kokoro.onnx: the neural voices are left out", args.kokoro)
    elif args.kokoro and args.neural:
        kokoro = Kokoro(args.kokoro)
        names = [name for name in kokoro.voices if (name in held) != args.without or not held]
        yield spoken_by_kokoro(kokoro, sentences, names, args.neural, random.Random(args.seed + 2))


def main(arguments: list[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m forge.motion.spoken_corpus", description=__doc__)
    add = parser.add_argument
    add("sentences", type=Path, help='lines of "language<TAB>sentence"')
    add("out", type=Path)
    add("--flite", type=int, default=500, help="number of flite utterances")
    add("--espeak", type=int, default=700, help="number of espeak-ng utterances")
    add("--recordings", type=Path, action="append", default=[], help="csv with file, transcript, voice, language")
    add("--debian", type=Path, action="append", default=[], help="root under which Debian's recordings are installed")
    add("--guessed", type=Path, action="append", default=[], help="folder of English wav files without transcripts")
    add("--minutes", type=float, default=2.5, help="most minutes of one recorded voice")
    add("--least-confidence", type=float, default=LEAST_CONFIDENCE, help="of an alignment")
    add("--listener", type=Path, help="another listener's weights for the alignment")
    add("--kokoro", type=Path, help="folder with kokoro.onnx, vocab.json and voices/*.bin")
    add("--neural", type=int, default=0, help="number of Kokoro utterances")
    add("--voices", default="", help="only these recorded and neural voices, by name, with commas")
    add("--without", action="store_true", help="all voices but those of --voices")
    add("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    lines = args.sentences.read_text().splitlines()
    sentences = [(language, text) for language, _, text in (line.partition("\t") for line in lines) if text]
    count = write_corpus((utterance for source in sources(sentences, args) for utterance in source), args.out)
    log.info("%s: %d utterances", args.out, count)


if __name__ == "__main__":
    main()
