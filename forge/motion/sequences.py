"""Motion over time beside the sound that goes with it: what the motion network learns from.

    python -m forge.motion.sequences OUT --clips VIDEOS --spoken CORPUS    # resumable, one file a take

Two sources. `tracked`: faces of real talking people, seen by the landmarker; no pixel is kept. `spoken`: utterances of
`forge.motion.spoken_corpus` with the times of their sounds, put into motion by the baseline's hand-made mouth and
natural prior under random wishes, which are written down. Of each there are several takes: the first as it is, others
at another tempo or under other wishes, heard through rooms and noise.

Axes: T frames at 25 a second, M motion features, A = 220 audio features (`listening`).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from forge.face.student_motion import motion_between
from forge.motion.controls import EMOTIONS, LIP_PARTING, NEUTRAL, Controls
from forge.motion.features import BLENDSHAPE_NAMES, INDEX, NAMES, POSE
from forge.motion.hearing import HEARING_HZ, RATE_HZ, hear, one_channel
from forge.motion.listener import viseme_chances
from forge.motion.listening import AUDIO_FEATURES, HEARINGS, MOTION_FPS, heard_frames
from forge.motion.pronunciation import read_wav
from forge.motion.rooms import colour, degraded
from forge.motion.speech import motion_of_visemes
from forge.motion.visemes import MOUTH_NAMES, VISEMES, mouth_from_visemes
from media.clip import MediaError, Waveform, frames_for
from media.faces import FaceFinder, FaceTrack, load_tracks, track_faces
from media.video import probe, read_waveform, stream_frames
from provenance.files import write_whole

log = logging.getLogger(__name__)
FloatArray = NDArray[np.float32]

POSE_SMOOTHING, EXPRESSION_SMOOTHING = 7, 5
"""Frames of a quadratic Savitzky-Golay window: a tracker's jitter goes, a nod stays."""
UNTOUCHED = ("eyeBlink", "jaw", "mouth", "eyeLook", "gaze", "tongue")
"""Features that are left as measured: a lip closure or a blink lasts two or three frames."""
SHORTEST_FRAMES = 25


@dataclass(frozen=True, eq=False)
class MotionSequence:
    """Motion and sound of one speaker."""

    name: str
    source: str
    """`tracked` or `spoken`."""
    speaker: str
    """Who is in no other split."""
    language: str
    license: str
    motion_TM: FloatArray
    audio_TA: FloatArray | None
    """None for a clip without sound."""
    emotion: Mapping[str, float] | None
    """Strength by name where it is known; empty is neutral."""

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        length = self.motion_TM.shape[0]
        if self.motion_TM.shape != (length, len(NAMES)) or length < 1:
            raise ValueError(f"motion must be (T, {len(NAMES)}), got {self.motion_TM.shape}")
        if self.audio_TA is not None and self.audio_TA.shape != (length, AUDIO_FEATURES):
            raise ValueError(f"audio must be ({length}, {AUDIO_FEATURES}), got {self.audio_TA.shape}")
        if self.source not in ("tracked", "spoken"):
            raise ValueError(f"source must be tracked or spoken, got {self.source!r}")
        if self.emotion is not None and not set(self.emotion) <= set(EMOTIONS):
            raise ValueError(f"emotions are {', '.join(EMOTIONS)}, got {', '.join(self.emotion)}")

    @property
    def length(self) -> int:
        """Number of frames T."""
        return int(self.motion_TM.shape[0])

    def save(self, path: Path) -> None:
        """Write one npz, whole or not at all; half precision, which is finer than any tracker."""
        facts = {name: getattr(self, name) for name in ("name", "source", "speaker", "language", "license")}
        facts["emotion"] = None if self.emotion is None else dict(self.emotion)
        arrays: dict[str, NDArray[np.generic]] = {
            "motion": self.motion_TM.astype(np.float16),
            "facts": np.array(json.dumps(facts)),
        }
        if self.audio_TA is not None:
            arrays["audio"] = self.audio_TA.astype(np.float16)
        store = io.BytesIO()
        np.savez_compressed(store, allow_pickle=False, **arrays)
        write_whole(path, store.getvalue())

    @classmethod
    def load(cls, path: Path) -> MotionSequence:
        """Read what `save` wrote.

        Raises:
            ValueError: in one line, for another or a damaged file.
        """
        try:
            with np.load(path) as stored:
                audio = stored["audio"].astype(np.float32) if "audio" in stored.files else None
                facts = json.loads(str(stored["facts"]))
                return cls(motion_TM=stored["motion"].astype(np.float32), audio_TA=audio, **facts)
        except (OSError, KeyError, TypeError, EOFError, BadZipFile, json.JSONDecodeError) as error:
            raise ValueError(f"{path}: is not a motion sequence ({error}); make it again") from error


def motion_of_track(track: FaceTrack) -> FloatArray | None:
    """(T, 70) motion of one tracked face from its first frame to its last; None when it is too short or torn.

    z_pose is relative to the frame whose head is nearest to the median place, as a portrait would be chosen. Gaps of up
    to three frames are bridged.
    """
    if track.length < SHORTEST_FRAMES or np.diff(track.frame_indices).max() > 4:
        return None
    usual = np.median(track.landmarks, axis=0)
    reference = track.landmarks[np.abs(track.landmarks - usual).mean(axis=(1, 2)).argmin()]
    pairs = zip(track.landmarks, track.blendshapes, strict=True)
    measured = np.stack([motion_between(reference, points, shapes) for points, shapes in pairs])
    frames = np.arange(track.frame_indices[0], track.frame_indices[-1] + 1)
    whole = np.stack([np.interp(frames, track.frame_indices, column) for column in measured.T], axis=1)
    return relaxed(smoothed(whole.astype(np.float32)))


RESTING = 10.0
"""Percentile of a coefficient over a clip that counts as this face at rest."""
LEAST_BLINK = 0.3
PARTING_GAIN = 1.4
"""The drawn face parts its lips by .042 of the eye distance (deviation) for the coefficients that were read off people
who parted theirs by .059: measured on 20 clips."""


def relaxed(motion_TM: FloatArray) -> FloatArray:
    """The motion of the same face if it rested at zero, closed its eyes in a blink and parted its lips as was seen.

    What a face shows all the time (raised brows, a squint, a smile) is the portrait's business, not the motion's. A lid
    that closes between two frames is read as half closed.
    """
    out = motion_TM.copy()
    moving = [INDEX[name] for name in BLENDSHAPE_NAMES if not name.startswith("eyeLook")]
    out[:, moving] -= np.percentile(out[:, moving], RESTING, axis=0)
    out[:, [INDEX[name] for name in LIP_PARTING]] *= PARTING_GAIN
    lids = [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]
    deepest = out[:, lids].mean(axis=1).max()
    if deepest > LEAST_BLINK:
        out[:, lids] /= max(deepest, 1e-6)
    out[:, moving] = np.clip(out[:, moving], 0.0, 1.0)
    return out


def smoothed(motion_TM: FloatArray) -> FloatArray:
    """Pose and slow expressions without the tracker's jitter; lips, lids and eyes as they are."""
    out = motion_TM.copy()
    out[:, POSE] = savgol_filter(motion_TM[:, POSE], POSE_SMOOTHING, 2, axis=0)
    slow = [i for name, i in INDEX.items() if i >= POSE.stop and not name.startswith(UNTOUCHED)]
    out[:, slow] = savgol_filter(motion_TM[:, slow], EXPRESSION_SMOOTHING, 2, axis=0)
    return out


def tracked_sequence(
    video: Path, finder: FaceFinder, *, speaker: str, license: str, tracks: Path | None = None, takes: int = 1
) -> list[MotionSequence]:
    """Takes of the most visible face of a video; none when no face is followed long enough.

    Raises:
        MediaError: when the video cannot be read.
    """
    found = (
        load_tracks(tracks)
        if tracks is not None and tracks.is_file()
        else track_faces(stream_frames(video, fps=MOTION_FPS), finder=finder, max_faces=2)
    )
    motion = motion_of_track(found[0]) if found else None
    if motion is None:
        return []
    first = int(found[0].frame_indices[0])
    sound = samples_of(read_waveform(video))[int(first / MOTION_FPS * RATE_HZ) :] if probe(video).has_sound else None
    if sound is not None and not sound_belongs(motion, sound):
        sound = None
    random = np.random.default_rng(_number(video.stem))
    made = []
    for take in range(takes):
        tempo = 1.0 if take == 0 else float(random.uniform(0.88, 1.14))
        moved = at_tempo(motion, tempo)
        audio = None
        if sound is not None:
            heard = at_tempo(sound[:, None], tempo)[:, 0]
            heard = degraded(heard, lambda: sound, random) if take else heard
            audio = heard_frames(Waveform(heard[:, None], RATE_HZ), len(moved))
        made.append(MotionSequence(video.stem, "tracked", speaker, "unknown", license, moved, audio, {}))
    return made


LEAD_FRAMES, LAG_FRAMES, LEAST_AGREEMENT = 4, 2, 0.3
"""Video frames by which lips may come before or after the sound (they lead by one or two); the correlation of seen and
heard mouth that is believed."""


def sound_belongs(motion_TM: FloatArray, sound: FloatArray) -> bool:
    """Whether this sound (N,) at 16 kHz moves these lips: the mouth that the baseline hears is like the one seen.

    Videos from the net are dubbed, far out of sync, silent or have music for sound (27 of 41 measured ones): a network
    that learned from them as they are would learn to mumble.
    """
    if len(sound) < RATE_HZ:
        return False
    chance = viseme_chances(hear(Waveform(sound[:, None], RATE_HZ)))
    effort = np.ones(len(chance))
    mouth = mouth_from_visemes(chance, effort, 0.0 * effort, HEARING_HZ).coefficients[:, MOUTH_NAMES.index("jawOpen")]
    said = mouth[HEARINGS // 2 :: HEARINGS].astype(np.float64)
    seen = motion_TM[:, [INDEX["jawOpen"], INDEX["mouthLowerDownLeft"], INDEX["mouthLowerDownRight"]]].sum(axis=1)
    length = min(len(said), len(seen))
    if length < 2 * SHORTEST_FRAMES:
        return False
    for shift in range(-LEAD_FRAMES, LAG_FRAMES + 1):
        a, b = said[max(0, -shift) : length - max(0, shift)], seen[max(0, shift) : length + min(0, shift)]
        if min(a.std(), b.std()) > 1e-3 and np.corrcoef(a, b)[0, 1] >= LEAST_AGREEMENT:
            return True
    return False


def samples_of(sound: Waveform) -> FloatArray:
    """(N,) one channel at 16 kHz."""
    return np.ascontiguousarray(one_channel(sound).resampled(RATE_HZ).samples[:, 0], np.float32)


def at_tempo(curves_NC: FloatArray, tempo: float) -> FloatArray:
    """Curves played `tempo` times as fast, straight lines between samples; of sound the pitch changes with it."""
    if tempo == 1.0:
        return curves_NC
    places = np.arange(max(1, int(len(curves_NC) / tempo))) * tempo
    columns = [np.interp(places, np.arange(len(curves_NC)), column) for column in curves_NC.T]
    return np.stack(columns, axis=1).astype(np.float32)


def _number(name: str) -> int:
    """A number that belongs to a name."""
    return int(sha256(name.encode()).hexdigest()[:12], 16)


def wishes_of(name: str) -> Controls:
    """Random wishes that belong to a name: gaze, distance, emotion, liveliness; a third of the emotions are none.

    How far the lips part is not wished: it is no condition of the network, but a gain on what it draws.
    """
    random = np.random.default_rng(_number(name))
    gaze = random.normal(0.0, (8.0, 4.0)) if random.random() < 0.6 else np.zeros(2)
    emotion = str(random.choice([*EMOTIONS])) if random.random() < 0.67 else NEUTRAL
    return Controls(
        gaze_yaw_degrees=float(np.clip(gaze[0], -28, 28)),
        gaze_pitch_degrees=float(np.clip(gaze[1], -18, 18)),
        distance=float(np.clip(np.exp(random.normal(0.0, 0.15)), 0.55, 1.8)) if random.random() < 0.4 else 1.0,
        emotion=emotion,
        emotion_strength=0.0 if emotion == NEUTRAL else float(random.uniform(0.2, 1.0)),
        head_motion=float(np.clip(np.exp(random.normal(0.0, 0.2)), 0.6, 1.6)),
        blink_rate=float(np.clip(np.exp(random.normal(0.0, 0.2)), 0.6, 1.6)),
        seed=int(random.integers(2**31)),
    )


def spoken_sequence(
    line: Mapping[str, object], folder: Path, license: str, *, take: int = 0, other: Path | None = None
) -> MotionSequence:
    """One utterance of a spoken corpus under the random wishes of a take.

    Args:
        line: of `phones.jsonl`.
        folder: of the corpus.
        license: of the sound, where the line does not tell.
        take: 0 is heard clean, others through rooms and noise.
        other: another utterance, for babble.
    """
    file = str(line["file"])
    sound = read_wav(folder / file)
    noisy = sound
    if take:
        babble = samples_of(read_wav(other or folder / file))
        random = np.random.default_rng(_number(f"{file} {take} room"))
        noisy = Waveform(degraded(samples_of(sound), lambda: babble, random)[:, None], RATE_HZ)
    wishes = wishes_of(f"{file} {take}" if take else file)
    return sequence_of(line, sound, wishes, str(line.get("license", license)), noisy=noisy)


def sequence_of(
    line: Mapping[str, object], sound: Waveform, wishes: Controls, license: str, *, noisy: Waveform | None = None
) -> MotionSequence:
    """Timed visemes put into motion.

    Args:
        line: file, voice, language and visemes, as in `phones.jsonl`.
        sound: at 16 kHz; its accents and phrases move the head.
        wishes: what the face is asked to do.
        license: of the sound.
        noisy: what the network hears instead.
    """
    visemes = line["visemes"]
    assert isinstance(visemes, list)
    heard = hear(sound)
    chance = np.zeros((heard.bands.shape[0], len(VISEMES)), np.float32)
    centres = (np.arange(len(chance)) + 0.5) / HEARING_HZ
    row = np.clip(np.searchsorted([start for start, _ in visemes], centres, side="right") - 1, 0, None)
    chance[np.arange(len(chance)), [VISEMES.index(visemes[r][1]) for r in row]] = 1.0
    length = frames_for(sound.duration_seconds, MOTION_FPS)
    motion = motion_of_visemes(heard, chance, length, MOTION_FPS, wishes)
    emotion = {wishes.emotion: wishes.emotion_strength} if wishes.emotion != NEUTRAL else {}
    audio = heard_frames(noisy or sound, length)
    return MotionSequence(
        Path(str(line["file"])).stem,
        "spoken",
        str(line["voice"]),
        str(line["language"]),
        license,
        motion.values,
        audio,
        emotion,
    )


def tracked_in(
    clips: Path, out: Path, tracks: Path | None, *, takes: int, split: str | None
) -> Iterator[tuple[str, list[MotionSequence]]]:
    """Every video of a folder, or every real one of a table with the columns file, label, split, person, license."""
    rows: list[tuple[Path, str, str]]
    if clips.is_file():
        with clips.open(newline="") as table:
            rows = [
                (clips.parent / row["file"], row.get("person") or row["file"], row.get("license") or "unknown")
                for row in csv.DictReader(table)
                if row.get("label", "real") == "real" and split in (None, row.get("split"))
            ]
    else:
        found = sorted(p for p in clips.rglob("*") if p.suffix.lower() in (".mp4", ".mov", ".mkv", ".webm", ".avi"))
        rows = [(path, path.parent.name, "unknown") for path in found]
    with FaceFinder() as finder:
        for video, speaker, license in rows:
            if (out / f"tracked_{video.stem}_0.npz").exists():
                continue
            known = tracks / f"{video.stem}.npz" if tracks else None
            try:
                made = tracked_sequence(video, finder, speaker=speaker, license=license, tracks=known, takes=takes)
            except MediaError as error:
                log.warning("%s", error)
                continue
            yield f"tracked_{video.stem}", made


def spoken_in(corpus: Path, out: Path, license: str, *, takes: int) -> Iterator[tuple[str, MotionSequence]]:
    """Every utterance of `spoken_corpus` that lasts a second or more."""
    lines = [json.loads(text) for text in (corpus / "phones.jsonl").read_text().splitlines()]
    for place, line in enumerate(lines):
        if read_wav(corpus / line["file"]).samples.shape[0] < RATE_HZ:
            continue
        for take in range(takes):
            name = f"spoken_{corpus.name}_{Path(line['file']).stem}_{take}"
            if not (out / f"{name}.npz").exists():
                other = corpus / lines[(place + 7 * take) % len(lines)]["file"]
                yield name, spoken_sequence(line, corpus, license, take=take, other=other)


QUIET_SECONDS = 8


def quiet_in(count: int, out: Path) -> Iterator[tuple[str, MotionSequence]]:
    """Nobody speaks: silence, hiss and hum of eight seconds, and a face that lives without a word."""
    for place in range(count):
        name = f"spoken_quiet_{place:04d}"
        if (out / f"{name}.npz").exists():
            continue
        random = np.random.default_rng(_number(name))
        length = QUIET_SECONDS * RATE_HZ
        sound = np.zeros(length)
        if place % 3:
            sound = np.fft.irfft(np.fft.rfft(random.standard_normal(length)) * colour(length, random), length)
            sound *= 10 ** (random.uniform(-65, -25) / 20) / (sound.std() + 1e-12)
        waveform = Waveform(sound.astype(np.float32)[:, None], RATE_HZ)
        line = {"file": name, "voice": f"quiet-{place % 20}", "language": "none", "visemes": [(0.0, "silence")]}
        yield name, sequence_of(line, waveform, wishes_of(name), "noise, generated here")


def main(arguments: list[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m forge.motion.sequences", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=Path, action="append", default=[], help="folder of videos, or a clips table")
    parser.add_argument("--tracks", type=Path, help="folder of NAME.npz face tracks made at 25 frames a second")
    parser.add_argument("--spoken", type=Path, action="append", default=[], help="folder of forge.motion.spoken_corpus")
    parser.add_argument("--spoken-license", default="synthetic speech, generated here")
    parser.add_argument("--split", help="of a clips table: only this one, as train")
    parser.add_argument("--tracked-takes", type=int, default=4)
    parser.add_argument("--spoken-takes", type=int, default=2)
    parser.add_argument("--quiet", type=int, default=120, help="sequences of eight seconds in which nobody speaks")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args.out.mkdir(parents=True, exist_ok=True)
    made = left = 0
    for clips in args.clips:
        for name, takes in tracked_in(clips, args.out, args.tracks, takes=args.tracked_takes, split=args.split):
            left += not takes
            # the first take is written last: it says that all are there
            for take, sequence in reversed(list(enumerate(takes))):
                sequence.save(args.out / f"{name}_{take}.npz")
                made += 1
    for corpus in args.spoken:
        for name, spoken in spoken_in(corpus, args.out, args.spoken_license, takes=args.spoken_takes):
            spoken.save(args.out / f"{name}.npz")
            made += 1
    for name, quiet in quiet_in(args.quiet, args.out):
        quiet.save(args.out / f"{name}.npz")
        made += 1
    log.info("%d sequences made, %d clips without a face to follow", made, left)


if __name__ == "__main__":
    main()
