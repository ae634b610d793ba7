"""How a sentence sounds and looks: phones to visemes, and the espeak-ng library that knows the phones of 100 languages.

    espeak = Espeak()
    espeak.pronounce("Příliš žluťoučký kůň", "cs")          # clauses of words of phones
    espeak.speak("Guten Tag", "de+f2", 150, 50).visemes     # [(start seconds, viseme)]

The kinds of speech that `spoken_corpus` collects all come out as `Utterance`.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forge.motion.alignment import BURST
from forge.motion.hearing import RATE_HZ
from media.clip import Waveform

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

ESPEAK_CLOSURE_SECONDS = 0.055


@dataclass(frozen=True)
class Utterance:
    """Speech with the time of its visemes."""

    sound: Waveform
    visemes: Timed
    voice: str
    language: str
    license: str = "none: made by a program whose licence does not reach its output"
    confidence: float = 1.0
    """Of the times: 1 where the program that spoke told them."""


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
_IPA_SPLIT_BY_BARS = 0x02 | ord("|") << 8


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

    def pronounce(self, text: str, voice: str) -> list[list[list[str]]]:
        """The phones (IPA) of a text: clauses of words of phones. Numbers are spoken as words.

        Raises:
            ValueError: when espeak-ng has no such language.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        transcribe = self._library.espeak_TextToPhonemes
        transcribe.restype = ctypes.c_char_p
        transcribe.argtypes = (ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int)
        rest = ctypes.c_char_p(text.encode())
        clauses: list[list[list[str]]] = []
        while rest.value is not None:
            listing: str = transcribe(ctypes.byref(rest), _UTF8, _IPA_SPLIT_BY_BARS).decode()
            spelled = re.sub(r"\([a-z-]+\)", " ", listing)  # (en): the tongue changes inside a sentence
            words = [[phone for phone in word.split("|") if phone] for word in spelled.split()]
            clauses.append([word for word in words if word])
        return [clause for clause in clauses if clause]


def mouth_of(phone: str) -> list[str]:
    """Visemes of one IPA phone in the order of the mouth, `BURST` after p and b; nothing for what is unknown."""
    visemes = visemes_of_ipa(phone)
    if visemes == "silence":
        return []
    if visemes == "p" and phone.lstrip("ˈˌ")[:1] in ("p", "b"):
        return ["p", BURST]
    return visemes.split()
