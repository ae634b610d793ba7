import json
from pathlib import Path

import numpy as np
import pytest

from forge.motion.hearing import RATE_HZ
from forge.motion.listener import Listener
from forge.motion.spoken_corpus import ARPABET, IPA, spread, visemes_of_ipa, write_wav
from forge.motion.visemes import SILENCE, VISEMES
from media.clip import Waveform


@pytest.mark.parametrize(
    ("phone", "viseme"),
    [("p", "p"), ("ʃ", "ch"), ("tʃ", "ch"), ("dʒ", "ch"), ("ts", "s"), ("aɪ", "a i"), ("oʊ", "o u"), ("ɑː", "a"),
     ("ˈiː", "i"), ("ŋ", "k"), ("y", "u"), ("_:", "silence"), ("ʲ", "silence")],
)  # fmt: skip
def test_ipa_phones_have_the_look_of_their_first_letters(phone: str, viseme: str) -> None:
    assert visemes_of_ipa(phone) == viseme


def test_every_phone_maps_to_visemes_that_exist() -> None:
    for visemes in (*ARPABET.values(), *IPA.values()):
        assert set(visemes.split()) <= set(VISEMES)


def test_the_lips_part_before_the_end_of_a_p_and_turn_within_a_diphthong() -> None:
    assert spread("p", "p", 1.0, 1.1) == [(1.0, "p"), (pytest.approx(1.075), "er")]
    assert spread("m", "p", 1.0, 1.1) == [(1.0, "p")]
    assert spread("ay", "a i", 0.0, 0.2) == [(0.0, "a"), (pytest.approx(0.11), "i")]


def test_labels_are_taken_at_the_middle_of_a_hearing_frame() -> None:
    train_baseline = pytest.importorskip("forge.motion.train_baseline")
    labels = train_baseline.labels_of([(0.02, "p"), (0.044, "a")], 8)
    names = [VISEMES[i] for i in labels]
    assert names == ["silence", "silence", "p", "p", "a", "a", "a", "a"]
    assert train_baseline.labels_of([(0.02, "p")], 4, tempo=2.0).tolist() == [SILENCE, 1, 1, 1]


def test_numpy_and_torch_hear_the_same() -> None:
    torch = pytest.importorskip("torch")
    from safetensors.numpy import save

    from forge.motion.train_baseline import Network

    network = Network().eval()
    listener = Listener.from_bytes(save(network.tensors()))
    bands = np.random.default_rng(0).standard_normal((200, 80)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(bands).T[None])[0].T.numpy()
    assert np.abs(listener.logits(bands) - expected).max() < 0.02


@pytest.mark.slow
def test_a_listener_trained_on_two_sounds_tells_them_apart(tmp_path: Path) -> None:
    from forge.motion.train_baseline import main

    rng = np.random.default_rng(0)
    lines = []
    for i in range(12):
        time = np.arange(RATE_HZ) / RATE_HZ
        hiss = 0.1 * rng.standard_normal(RATE_HZ)
        sound = np.where(time < 0.5, 0.3 * np.sign(np.sin(2 * np.pi * (100 + 10 * i) * time)), hiss)
        write_wav(Waveform(sound.astype(np.float32)[:, None], RATE_HZ), tmp_path / f"{i}.wav")
        visemes = [[0.0, "a"], [0.5, "s"]]
        lines.append(json.dumps({"file": f"{i}.wav", "voice": "made", "language": "none", "visemes": visemes}))
    (tmp_path / "phones.jsonl").write_text("\n".join(lines))
    out = tmp_path / "listener.safetensors"
    main(["--data", str(tmp_path), "-o", str(out), "--steps", "25", "--hearings", "1", "--threads", "1"])
    scores = json.loads(out.with_suffix(".json").read_text())["scores"]
    assert scores["validation"]["frame_accuracy"] > 0.7
    Listener.from_bytes(out.read_bytes())
