"""Generators that somebody else made: what they are given, how they are ended, how their pictures are taken over."""

from __future__ import annotations

import json
import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from process_fate import gone
from staged_scenes import ASSETS, FPS, LENGTH, SIZE, cast, finder, scene, speech

from forge.foreign import Foreign
from forge.manipulations import Cast, Scene, Segment, within
from forge.methods import Shot, opened
from forge.portrait import Declaration, ForgeError, load_portrait
from media.clip import Waveform
from media.landmarks import FaceObservation

REPO = Path(__file__).parents[2]
EXAMPLE = REPO / "docs" / "examples" / "foreign_maker.py"
SECOND = Waveform(np.zeros((16_000, 1), np.float32), 16_000)

WRITER = """
import sys
from fractions import Fraction
import numpy as np
from media.video import ClipWriter
out, width, height, count = sys.argv[1], *map(int, sys.argv[2:5])
with ClipWriter(out, Fraction(25), width, height) as writer:
    for number in range(count):
        writer.add(np.full((height, width, 3), 20 + 4 * number, np.uint8))
"""
COPIER = """
import sys
from media.clip import Clip
from media.video import read_clip, write_clip
clip = read_clip(sys.argv[1])
write_clip(Clip(255 - clip.frames, clip.fps), sys.argv[2], crf=1)
"""
MODULE = """
import time
import numpy as np

def grey(portrait, speech, fps, size, seed):
    for number in range(round(speech.duration_seconds * fps)):
        yield np.full((size, size, 3), seed + number, np.uint8)

def swapped(frames, donor):
    return donor[: len(frames)]

def broken(portrait):
    raise KeyError("no weights\\nhere")

def shapeless(portrait):
    return [np.zeros((4, 4), np.uint8)] * 25

def picky(portrait, flavour):
    return []

def leaving(portrait):
    raise SystemExit(0)

def ragged(portrait):
    return [[[1, 2], [3]]] * 25

def louder(portrait, speech, size):
    speech.samples[:] = 1
    portrait[:] = 0
    return [np.zeros((size, size, 3), np.uint8)] * 25

together = []

def alone(portrait, size):
    together.append(1)
    most = 0
    for _ in range(30):  # long enough for another call to begin, if it may
        most = max(most, len(together))
        time.sleep(0.01)
    together.pop()
    return [np.full((size, size, 3), most, np.uint8)] * 25
"""
BROKEN_MODULE = "raise RuntimeError('no GPU')"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "writer.py").write_text(WRITER)
    (tmp_path / "copier.py").write_text(COPIER)
    (tmp_path / "strangers.py").write_text(MODULE)
    (tmp_path / "broken_module.py").write_text(BROKEN_MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))


def filmed(foreign: Foreign, sound: Waveform = SECOND, size: int = 256) -> np.ndarray:
    portrait = load_portrait(ASSETS / "ada.webp", Declaration.nonexistent())
    with opened(foreign.method()) as maker:
        take = maker.film(portrait, sound, Shot(size=size, fps=FPS))
        return np.stack(list(take.frames))


def command(text: str, **more: float) -> Foreign:
    return Foreign.parse("it={python} " + text, **more)


def test_the_worked_example_makes_a_clip_whose_mouth_follows_the_sound() -> None:
    foreign = Foreign.parse(
        f"toy={{python}} '{EXAMPLE}' --image {{portrait}} --audio {{speech}} --out {{out}} --fps {{fps}} "
        "--size {size} --seed {seed}"
    )
    sound = speech("before_you_believe")
    frames = filmed(foreign, sound)
    assert frames.shape == (LENGTH, 256, 256, 3)
    lips = frames[:, 160:180, 110:146].astype(float).mean(axis=(1, 2, 3))
    loud = np.array([np.sqrt((part**2).mean()) for part in np.array_split(sound.samples, LENGTH)])
    assert np.corrcoef(lips, loud)[0, 1] < -0.5, "the drawn mouth is dark"
    assert finder().find(frames[0]), "and the portrait is still there"


def test_a_rate_of_thirty_and_a_size_of_512_are_passed_on_and_taken_over() -> None:
    portrait = load_portrait(ASSETS / "ada.webp", Declaration.nonexistent())
    foreign = Foreign.parse(f"toy={{python}} '{EXAMPLE}' --image {{portrait}} --audio {{speech}} --out {{out}}")
    with opened(foreign.method()) as maker:  # it makes 25 frames a second of 256 pixels, whatever is asked
        take = maker.film(portrait, SECOND, Shot(size=512, fps=Fraction(30)))
        assert np.stack(list(take.frames)).shape == (30, 512, 512, 3)
        assert take.motion is None and take.masks is None


def test_a_command_that_changes_clips_becomes_a_manipulation() -> None:
    kind = command("copier.py {video} {out}").manipulation()
    assert kind.name == "foreign:it" and not (kind.needs_donor or kind.needs_speech or kind.forges_sound)
    maker = kind.open()
    forgery = maker.forge(scene("ada"), Cast(), np.random.default_rng(0))
    maker.close()
    frames = np.stack(list(forgery.frames))
    assert np.abs(255 - frames.astype(int) - scene("ada").frames_TSS3).mean() < 4
    assert forgery.sound is scene("ada").sound and forgery.masks is None and forgery.motion is None
    assert forgery.segments == (Segment(0.0, LENGTH / 25, "picture"),)


def test_a_foreign_forgery_can_be_partial() -> None:
    maker = command("copier.py {video} {out}").manipulation().open()
    whole = maker.forge(scene("ada"), Cast(), np.random.default_rng(0))
    frames = np.stack(list(within(whole, scene("ada"), [(0.5, 1.0)], fade_frames=0).frames))
    maker.close()
    assert np.array_equal(frames[: LENGTH // 2], scene("ada").frames_TSS3[: LENGTH // 2])
    assert np.abs(frames[-1].astype(int) - scene("ada").frames_TSS3[-1]).mean() > 20


def test_a_command_that_asks_for_speech_replaces_the_sound_and_says_so() -> None:
    kind = command("copier.py {video} {out} {speech}").manipulation()
    assert kind.needs_speech and kind.forges_sound
    maker = kind.open()
    forgery = maker.forge(scene("ada"), cast(), np.random.default_rng(0))
    with pytest.raises(ForgeError, match="foreign:it: needs other speech"):
        maker.forge(scene("ada"), Cast(), np.random.default_rng(0))
    maker.close()
    assert forgery.segments[0].what == "both"
    assert np.corrcoef(forgery.sound.samples[:, 0], cast().speech.samples[:, 0])[0, 1] > 0.99


def test_pictures_of_another_framing_are_cut_so_that_the_face_lies_as_in_the_input(tmp_path: Path) -> None:
    (tmp_path / "widener.py").write_text(
        "import sys\nfrom fractions import Fraction\nimport numpy as np\n"
        "from media.video import ClipWriter, read_image\n"
        "image = read_image(sys.argv[1])\n"
        "wide = np.full((image.shape[0] + 100, image.shape[1] + 300, 3), 128, np.uint8)\n"
        "wide[60 : 60 + image.shape[0], 220 : 220 + image.shape[1]] = image\n"
        "with ClipWriter(sys.argv[2], Fraction(25), wide.shape[1], wide.shape[0]) as writer:\n"
        "    for _ in range(25): writer.add(wide)\n"
    )
    frames = filmed(command("widener.py {portrait} {out}"))
    assert frames.shape == (25, 256, 256, 3)
    plain = filmed(command(f"'{EXAMPLE}' --image {{portrait}} --audio {{speech}} --out {{out}}"))
    wide, usual = (finder().find(clip[0])[0].box for clip in (frames, plain))
    assert np.abs(wide - usual).max() < 16


def test_one_missing_frame_is_held_and_more_are_an_error() -> None:
    frames = filmed(command("writer.py {out} 64 64 24 {portrait}"))
    assert len(frames) == 25 and np.array_equal(frames[-1], frames[-2])
    with pytest.raises(ForgeError, match=r"foreign:it: made 12 frames where 25 at 25 fps are needed"):
        filmed(command("writer.py {out} 64 64 12 {portrait}"))


def test_pictures_without_a_square_or_a_face_are_an_error() -> None:
    with pytest.raises(ForgeError, match="128 x 64 and show no face"):
        filmed(command("writer.py {out} 128 64 25 {portrait}"))


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; sys.exit('out of memory\\non cuda:0')", r"ended with code 1: \.\.\. out of memory on cuda:0"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by signal 9 without a word"),
        ("pass", "wrote no file at {out}"),
        ("import sys; open(sys.argv[1], 'w').write('no video')", "out.mp4"),
        ("print('x' * 100_000 + ' last words'); raise SystemExit(3)", "code 3.*last words"),
        ("import os, sys; os.mkdir(sys.argv[1])", "wrote no file at {out}"),
        ("import os, sys; os.mkfifo(sys.argv[1])", "wrote no file at {out}"),
        ("import os, sys; os.symlink(sys.argv[1], sys.argv[1])", "wrote no file at {out}"),
        ("import os, sys; os.symlink('/dev/zero', sys.argv[1])", "wrote no file at {out}"),
        ("import sys; open(sys.argv[1], 'w').truncate(2**40)", "out.mp4"),
    ],
)
def test_whatever_goes_wrong_inside_is_one_line(tmp_path: Path, code: str, why: str) -> None:
    (tmp_path / "bad.py").write_text(code)
    with pytest.raises(ForgeError, match=why) as refusal:
        filmed(command("bad.py {out} {portrait}"))
    text = str(refusal.value)
    assert "\n" not in text and len(text) < 500 and text.startswith("foreign:it: ")


def test_what_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    started = time.monotonic()
    with pytest.raises(ForgeError, match=r"took longer than 1\.5 s"):
        filmed(command("slow.py {out} {portrait}", limit_seconds=1.5))
    assert time.monotonic() - started < 30
    assert gone(int((tmp_path / "child").read_text()))


def test_children_left_behind_by_a_command_that_ended_are_killed_too(tmp_path: Path) -> None:
    (tmp_path / "leaver.py").write_text(
        "import pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid))\n"
    )
    with pytest.raises(ForgeError, match="wrote no file"):
        filmed(command("leaver.py {out} {portrait}"))
    assert gone(int((tmp_path / "child").read_text()))


def test_no_shell_ever_sees_the_template(tmp_path: Path) -> None:
    foreign = command("writer.py {out} 64 64 25 {portrait} ; touch hacked && echo $HOME > hacked `touch hacked`")
    assert len(filmed(foreign)) == 25
    assert not list(tmp_path.rglob("hacked"))


def test_a_command_works_in_an_empty_folder_that_is_gone_afterwards(tmp_path: Path) -> None:
    (tmp_path / "looker.py").write_text(
        "import os, pathlib, sys\n"
        f"pathlib.Path({str(tmp_path / 'seen')!r}).write_text(os.getcwd() + ' ' + ' '.join(sorted(os.listdir('.'))))\n"
    )
    with pytest.raises(ForgeError, match="wrote no file"):
        filmed(command("looker.py {portrait} {speech} {out}"))
    folder, *files = (tmp_path / "seen").read_text().split()
    assert files == ["portrait.png", "speech.wav"] and not Path(folder).exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no name", "NAME=COMMAND"),
        ("it=", "NAME=COMMAND"),
        ("a b=cat {portrait} {out}", "NAME=COMMAND"),
        ("it=no-such-program {portrait} {out}", "there is no program 'no-such-program'"),
        ("it={python} {portrait}", r"needs \{out\}"),
        ("it={python} {out}", r"either \{portrait\} or \{video\}"),
        ("it={python} {portrait} {video} {out}", r"either \{portrait\} or \{video\}"),
        ("it={python} {portrait} {donor} {out}", r"\{donor\} belongs to"),
        ("it={python} {portrait} {out} {home}", r"unknown placeholder \{home\}"),
        ("it={python} {portrait} {out.__class__}", "unknown placeholder"),
        ("it={python} {portrait!r} {out}", "a name in braces and nothing more"),
        ("it={python} {portrait {out}", "a brace that is meant twice|placeholder"),
        ("it={python} 'open {portrait} {out}", "cannot be split"),
        ("it=no.such.module:f", "cannot be imported"),
        ("it=strangers:nothing", "cannot be imported"),
        ("it=broken_module:f", r"cannot be imported \(RuntimeError: no GPU\)"),
        ("it=math:hypot", "does not tell its parameters"),
        ("it=strangers:picky", r"must take some of .* got \(portrait, flavour\)"),
    ],
)
def test_a_call_that_cannot_work_is_refused_before_anything_runs(text: str, why: str) -> None:
    with pytest.raises(ForgeError, match=why) as refusal:
        Foreign.parse(text)
    assert "\n" not in str(refusal.value)


def test_a_function_becomes_a_method_or_a_manipulation_by_what_it_takes() -> None:
    grey, swapped = Foreign.parse("grey=strangers:grey"), Foreign.parse("swapped=strangers:swapped")
    frames = filmed(grey)
    assert [int(frame[0, 0, 0]) for frame in frames] == [*range(25)]
    kind = swapped.manipulation()
    assert kind.needs_donor and not kind.needs_speech
    maker = kind.open()
    forgery = maker.forge(scene("ada"), cast(), np.random.default_rng(0))
    maker.close()
    assert np.array_equal(np.stack(list(forgery.frames)), scene("bo").frames_TSS3)
    with pytest.raises(ForgeError, match="use it as a manipulation"):
        swapped.method()
    with pytest.raises(ForgeError, match="use it as a method"):
        grey.manipulation()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("broken", "KeyError: 'no weights.*here'"),
        ("shapeless", r"picture 0 must be \(H, W, 3\)"),
        ("ragged", "ValueError"),
        ("leaving", "SystemExit: 0"),
    ],
)
def test_a_function_that_fails_costs_its_clip_and_no_more(name: str, why: str) -> None:
    with pytest.raises(ForgeError, match=f"foreign:it: {why}") as refusal:
        filmed(Foreign.parse(f"it=strangers:{name}"))
    assert "\n" not in str(refusal.value)


def test_a_function_may_change_what_it_is_given() -> None:
    sound = Waveform(SECOND.samples.copy(), SECOND.sample_rate_hz)
    portrait = load_portrait(ASSETS / "ada.webp", Declaration.nonexistent())
    framed = cv2.resize(scene("ada").frame(0), (256, 256))  # need not be copied to be cut
    portrait = replace(portrait, image=np.asarray(framed, np.uint8))
    before = portrait.image.copy()
    with opened(Foreign.parse("it=strangers:louder").method()) as maker:
        maker.film(portrait, sound, Shot(size=256, fps=FPS))
    assert not sound.samples.any() and np.array_equal(portrait.image, before)


def test_clips_made_abreast_ask_a_function_and_find_faces_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    looking, most = [], []

    class Finder:
        def find(self, image: np.ndarray) -> list[FaceObservation | None]:
            looking.append(1)
            for _ in range(30):
                most.append(len(looking))
                time.sleep(0.01)
            looking.pop()
            return [scene("ada").faces[0]]

        def close(self) -> None:
            pass

    monkeypatch.setattr("forge.foreign.FaceFinder", Finder)
    face = scene("ada")
    portrait = replace(
        load_portrait(ASSETS / "ada.webp", Declaration.nonexistent()), image=np.asarray(face.frames_TSS3[0])
    )
    maker = Foreign.parse("it=strangers:alone").method().open()
    with ThreadPoolExecutor(3) as threads:
        takes = [threads.submit(maker.film, portrait, SECOND, Shot(256)) for _ in range(3)]
        seen = [int(next(take.result().frames)[0, 0, 0]) for take in takes]
    assert seen == [1, 1, 1] and max(most) == 1


def test_files_and_folders_are_found_from_where_the_user_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stood = tmp_path / "{braces}"
    (stood / "weights").mkdir(parents=True)
    (stood / "test").mkdir()
    (stood / "looker.py").write_text(f"import sys, json; json.dump(sys.argv, open({str(tmp_path / 'seen')!r}, 'w'))")
    (stood / "small.yaml").write_text("small")
    monkeypatch.chdir(stood)
    words = "--config=small.yaml --weights weights/ --mode test --at=weights/ {{}}"
    foreign = command(f"looker.py {{portrait}} {{out}} {words}")
    with pytest.raises(ForgeError, match="wrote no file"):
        filmed(foreign)
    script, _, _, *rest = json.loads((tmp_path / "seen").read_text())
    assert script == str(stood / "looker.py")
    weights = str(stood / "weights")
    assert rest == [f"--config={stood / 'small.yaml'}", "--weights", weights, "--mode", "test", f"--at={weights}", "{}"]
    before = foreign.fingerprint()
    (stood / "small.yaml").write_text("changed")
    assert foreign.fingerprint() != before


def test_the_fingerprint_is_of_the_call_and_of_the_files_that_it_names(tmp_path: Path) -> None:
    first = command("writer.py {out} 64 64 25 {portrait}")
    assert first.fingerprint() == command("writer.py {out} 64 64 25 {portrait}").fingerprint()
    assert first.fingerprint() != command("writer.py {out} 64 64 26 {portrait}").fingerprint()
    before = first.fingerprint()
    (tmp_path / "writer.py").write_text(WRITER + "# changed\n")
    assert first.fingerprint() != before
    assert len(Foreign.parse("it=strangers:grey").fingerprint()) == 64


def test_a_generator_travels_to_another_process() -> None:
    foreign = command("writer.py {out} 64 64 25 {portrait}")
    method = pickle.loads(pickle.dumps(foreign.method()))
    assert method.name == "foreign:it" and method.fingerprint() == foreign.fingerprint()
    assert foreign.words[0] == sys.executable and Path(foreign.words[1]).is_absolute()
    kind = pickle.loads(pickle.dumps(command("copier.py {video} {out}").manipulation()))
    assert kind.fingerprint() == command("copier.py {video} {out}").fingerprint()


def test_a_clip_in_which_no_face_was_seen_is_given_all_the_same() -> None:
    unseen = Scene(scene("ada").frames_TSS3, FPS, None, (None,) * LENGTH)
    maker = command("copier.py {video} {out}").manipulation().open()
    forgery = maker.forge(unseen, Cast(), np.random.default_rng(0))
    maker.close()
    assert forgery.sound is None and np.stack(list(forgery.frames)).shape == (LENGTH, SIZE, SIZE, 3)
