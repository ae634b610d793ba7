"""A transcript is placed where its visemes are heard; recordings and neural voices become timed visemes."""

from __future__ import annotations

import gzip
import json
import random
import wave
from pathlib import Path

import numpy as np
import pytest

from forge.motion.alignment import BURST, align_visemes
from forge.motion.hearing import HEARING_HZ, RATE_HZ, hear
from forge.motion.listener import viseme_chances
from forge.motion.neural_voices import with_output
from forge.motion.pronunciation import Espeak, Utterance, mouth_of
from forge.motion.recorded_speech import (
    Aligner,
    Recording,
    debian_recordings,
    read_recording,
    recordings_of_table,
    spoken,
)
from forge.motion.spoken_corpus import main, write_corpus
from forge.motion.visemes import VISEMES
from media.clip import Waveform


def heard(timed: list[tuple[float, str]], end: float, sureness: float = 0.7) -> np.ndarray:
    """(T, V) chances of a listener that is right, but not certain."""
    frames = round(end * HEARING_HZ)
    chance = np.full((frames, len(VISEMES)), (1 - sureness) / (len(VISEMES) - 1), np.float32)
    for (start, viseme), until in zip(timed, [s for s, _ in timed[1:]] + [end], strict=True):
        chance[round(start * HEARING_HZ) : round(until * HEARING_HZ), VISEMES.index(viseme)] = sureness
    return chance


SAID = [(0.0, "silence"), (0.3, "p"), (0.39, "er"), (0.41, "a"), (0.5, "t"), (0.58, "silence"), (0.8, "s"), (0.9, "i")]


def test_every_viseme_is_found_where_it_is_heard() -> None:
    aligned = align_visemes(heard(SAID, 1.0), [["p", BURST, "a", "t"], ["s", "i"]])
    assert aligned is not None
    assert [viseme for _, viseme in aligned.visemes] == [viseme for _, viseme in SAID]
    assert np.abs(np.subtract([s for s, _ in aligned.visemes], [s for s, _ in SAID])).max() <= 0.011
    assert aligned.confidence == pytest.approx(0.7, abs=0.03)


def test_a_pause_between_words_is_optional_and_a_short_gap_is_no_pause() -> None:
    closure = [(0.0, "a"), (0.1, "silence"), (0.13, "a")]
    aligned = align_visemes(heard(closure, 0.25), [["a"], ["a"]])
    assert aligned is not None
    assert "silence" not in [viseme for _, viseme in aligned.visemes]


def test_another_transcript_is_less_trusted() -> None:
    right = align_visemes(heard(SAID, 1.0), [["p", BURST, "a", "t"], ["s", "i"]])
    wrong = align_visemes(heard(SAID, 1.0), [["k", "o", "f"], ["r", "u"]])
    assert right is not None and wrong is not None
    assert wrong.confidence < 0.5 * right.confidence


def test_a_viseme_that_is_never_heard_keeps_a_natural_length() -> None:
    aligned = align_visemes(heard([(0.0, "a"), (0.3, "silence")], 0.6), [["a", "th", "a"]])
    assert aligned is not None
    starts = [start for start, _ in aligned.visemes] + [0.6]
    unheard = [viseme for _, viseme in aligned.visemes].index("th")
    assert 0.02 <= starts[unheard + 1] - starts[unheard] <= 0.12


def test_an_expected_start_decides_where_nothing_is_heard() -> None:
    deaf = np.full((100, len(VISEMES)), 1 / len(VISEMES), np.float32)
    for start in (0.3, 0.5):
        aligned = align_visemes(deaf, [["a", "i"]], [start, start + 0.09])
        assert aligned is not None
        assert dict((viseme, at) for at, viseme in aligned.visemes)["a"] == pytest.approx(start, abs=0.025)


def test_words_that_do_not_fit_are_refused_and_nonsense_is_named() -> None:
    assert align_visemes(heard(SAID, 1.0)[:10], [["a", "t"] * 10]) is None
    assert align_visemes(heard(SAID, 1.0), []) is None
    with pytest.raises(ValueError, match="no viseme is called 'x'"):
        align_visemes(heard(SAID, 1.0), [["x"]])
    with pytest.raises(ValueError, match=r"must be \(T, 15\)"):
        align_visemes(np.zeros((5, 3), np.float32), [["a"]])
    with pytest.raises(ValueError, match="2 visemes need as many expected starts, got 1"):
        align_visemes(heard(SAID, 1.0), [["a", "t"]], [0.3])


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    try:
        return Espeak()
    except FileNotFoundError:
        pytest.skip("espeak-ng is not installed")


def test_the_mouth_passes_a_diphthong_and_opens_after_an_oral_stop() -> None:
    assert mouth_of("ˈaɪ") == ["a", "i"]
    assert mouth_of("pʲ") == ["p", BURST]
    assert mouth_of("m") == ["p"]
    assert mouth_of("dʒ") == ["ch"]
    assert mouth_of("?") == []


def test_espeak_knows_words_of_many_languages_and_reads_numbers(espeak: Espeak) -> None:
    assert espeak.pronounce("mama, papa", "it") == [[["m", "ˈa", "m", "a"]], [["p", "ˈa", "p", "a"]]]
    assert len(espeak.pronounce("21", "en-us")[0]) >= 1
    assert mouth_of(espeak.pronounce("бак", "ru")[0][0][0]) == ["p", BURST]
    with pytest.raises(ValueError, match="no voice zz"):
        espeak.pronounce("a", "zz")


def test_speech_of_a_synthesiser_is_aligned_close_to_its_own_times(espeak: Espeak) -> None:
    said = espeak.speak("My mother made pumpkin pie.", "en-us", 150, 50)
    words = [
        [v for p in word for v in mouth_of(p)]
        for c in espeak.pronounce("My mother made pumpkin pie.", "en-us")
        for word in c
    ]
    aligned = align_visemes(viseme_chances(hear(said.sound)), words)
    assert aligned is not None and aligned.confidence > 0.5
    true = [start for start, viseme in said.visemes if viseme == "p"]
    found = [start for start, viseme in aligned.visemes if viseme == "p"]
    assert len(true) == len(found) == 7
    assert float(np.median(np.abs(np.subtract(true, found)))) < 0.04


def test_prompts_and_dialogues_are_found_where_debian_puts_them(tmp_path: Path) -> None:
    doc = tmp_path / "usr/share/doc/asterisk-core-sounds-ru"
    sounds = tmp_path / "usr/share/asterisk/sounds/ru_RU_f_Someone"
    doc.mkdir(parents=True)
    sounds.mkdir(parents=True)
    listing = "; comment\nhello: Привет.\nbeep: [tone]\ngone: нет файла\n"
    (doc / "core-sounds-ru.txt.gz").write_bytes(gzip.compress(listing.encode()))
    for name in ("hello", "beep"):
        (sounds / f"{name}.g722").write_bytes(b"\x00" * 800)
    game = tmp_path / "usr/share/games/fillets-ng"
    (game / "script/city").mkdir(parents=True)
    (game / "sound/city/nl").mkdir(parents=True)
    lines = (
        'dialogId("a", "font_small", "Hi \\"you\\".")\ndialogStr("Hoi \\"jij\\".")\ndialogId("b", "font_big", "Hm")\n'
    )
    (game / "script/city/dialogs_nl.lua").write_text(lines)
    (game / "sound/city/nl/a.ogg").write_bytes(b"")
    (game / "sound/city/nl/b.ogg").write_bytes(b"")
    found = debian_recordings(tmp_path)
    assert [(r.transcript, r.voice, r.language, r.license) for r in found] == [
        ("Привет.", "asterisk-ru_RU_f_Someone", "ru", "CC-BY-3.0"),
        ('Hoi "jij".', "fillets-nl-small", "nl", "GPL-2.0-or-later"),
    ]


def test_bare_g722_is_read_at_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "silence.g722"
    path.write_bytes(bytes(random.Random(0).randrange(256) for _ in range(8000)))
    sound = read_recording(path)
    assert sound.sample_rate_hz == RATE_HZ
    assert float(sound.duration_seconds) == pytest.approx(1.0, abs=0.01)


def test_each_voice_gets_its_minutes_and_no_sentence_twice(tmp_path: Path) -> None:
    class Patient(Aligner):
        def __init__(self) -> None:
            pass

        def utterance(self, recording: Recording) -> Utterance | None:
            if recording.transcript == "unheard":
                return None
            sound = Waveform(np.zeros((10 * RATE_HZ, 1), np.float32), RATE_HZ)
            return Utterance(sound, [(0.0, "silence")], recording.voice, recording.language, recording.license, 0.5)

    texts = ["one", "One", "two", "three", "unheard", "four"]
    rows = [Recording(Path("x"), text, voice, "en-us", "CC0") for voice in ("ann", "bob") for text in texts]
    made = list(spoken(rows, minutes_a_voice=0.5, random_=random.Random(0), aligner=Patient()))
    assert [utterance.voice for utterance in made] == ["ann"] * 3 + ["bob"] * 3
    assert write_corpus(made, tmp_path) == 6
    row = json.loads((tmp_path / "phones.jsonl").read_text().splitlines()[0])
    assert (row["license"], row["confidence"], row["language"]) == ("CC0", 0.5, "en-us")


def test_a_table_names_voice_language_and_licence_and_a_row_without_words_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,transcript,voice,language,license\na.wav,Ahoj,eva,cs,CC0\nb.wav,,,,\n")
    assert recordings_of_table(tmp_path / "t.csv") == [Recording(tmp_path / "a.wav", "Ahoj", "eva", "cs", "CC0")]
    with pytest.raises(ValueError, match="has no transcript"):
        Recording(Path("b.wav"), " ", "eva", "cs", "CC0")


def test_what_is_missing_is_told_and_the_corpus_is_still_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "s.tsv").write_text("en-us\tHello.\n")
    common = [str(tmp_path / "s.tsv"), str(tmp_path / "out"), "--flite", "0", "--espeak", "0"]
    main([*common, "--debian", str(tmp_path), "--kokoro", str(tmp_path), "--neural", "3"])
    assert "no recordings of asterisk-core-sounds" in caplog.text
    assert "has no kokoro.onnx" in caplog.text
    assert (tmp_path / "out/phones.jsonl").read_text() == ""


def test_an_inner_tensor_is_added_to_the_outputs_of_an_onnx_file() -> None:
    patched = with_output(b"model", "/encoder/Clip_output_0")
    name = b"/encoder/Clip_output_0"
    value = b"\x0a" + bytes([len(name)]) + name
    output = b"\x62" + bytes([len(value)]) + value
    assert patched == b"model\x3a" + bytes([len(output)]) + output


def test_a_wav_of_the_corpus_can_be_read_by_anyone(tmp_path: Path) -> None:
    sound = Waveform(np.full((RATE_HZ, 1), 0.5, np.float32), RATE_HZ)
    write_corpus([Utterance(sound, [(0.0, "a")], "ann", "en-us")], tmp_path)
    with wave.open(str(tmp_path / "00000.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (RATE_HZ, 1, RATE_HZ)
