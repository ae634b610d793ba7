"""What one answer costs: `python -m benchmarks.speed detect [VIDEO]` writes `results/speed_detect.json`.

A minute of 720p with one face is judged twice in one run: by the shipped detector as it is, and by a plain pipeline
that does the plain thing with the *same* networks and measurements: find the face anew in every frame, run the network
on every frame, and measure the motion of every second.

Without a video, a minute of a rendered head of nobody is made from the embedded portrait and speech.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from fractions import Fraction
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch

from benchmarks.tables import RESULTS, Result, Table
from detect.load import load_detector
from detect.models.frame import FrameDetector
from detect.models.network import network_crop, to_batch
from detect.models.temporal import CROP_MARGIN, CROP_SIDE, window_features
from detect.prepare import MARGIN, SIDE
from forge.animate import animate
from forge.methods import Shot
from forge.portrait import Declaration, load_portrait
from media.clip import Clip
from media.faces import FaceFinder
from media.landmarks import FaceObservation, align_matrix, warp
from media.video import ClipWriter, read_waveform, stream_frames

SECONDS = 60
WIDTH, HEIGHT = 1280, 720
FPS = Fraction(25)


def minute_of_video(path: Path) -> None:
    """A minute of 720p: the embedded portrait speaks on a plain ground, forwards and backwards until time is up."""
    with as_file(files("countermark") / "demo_assets") as assets:
        portrait = load_portrait(assets / "ada.webp", Declaration.nonexistent())
        sound = read_waveform(assets / "before_you_believe.flac")
    clip: Clip = animate(portrait, sound, shot=Shot(size=512))
    with ClipWriter(path, FPS, WIDTH, HEIGHT, None) as writer:
        for t in range(SECONDS * int(FPS)):
            turn = t % (2 * clip.length - 2)
            frame = clip.frames[turn if turn < clip.length else 2 * clip.length - 2 - turn]
            canvas = np.full((HEIGHT, WIDTH, 3), 96, np.uint8)
            canvas[104 : 104 + 512, 384 : 384 + 512] = frame
            writer.add(canvas)


def plainly(path: Path, detector: FrameDetector) -> float:
    """The processor seconds of the plain pipeline."""
    started = time.process_time()
    frames = (frame.image for frame in stream_frames(path))
    with FaceFinder() as finder:
        while images := list(islice(frames, int(FPS))):
            faces: list[FaceObservation | None] = [next(iter(finder.find(image)), None) for image in images]
            seen = [face for face in faces if face is not None]
            if not seen:
                continue
            middle = align_matrix(np.median([f.landmarks[:, :2] for f in seen], axis=0), CROP_SIDE, CROP_MARGIN)
            window_features(np.stack([warp(image, middle, CROP_SIDE) for image in images]))
            with torch.inference_mode():
                for image, face in zip(images, faces, strict=True):
                    if face is not None:
                        crop = warp(image, align_matrix(face.landmarks, SIDE, MARGIN), SIDE)
                        detector.network(to_batch([network_crop(crop, detector.description.size)]))
    return time.process_time() - started


def main(words: Sequence[str]) -> int:
    """Measure and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed detect", description="What one answer costs.")
    parser.add_argument("video", type=Path, nargs="?", help="a minute of 720p at 25 frames a second")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args(words)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    detector = load_detector()
    with TemporaryDirectory() as folder:
        video = options.video or Path(folder) / "minute.mp4"
        if options.video is None:
            minute_of_video(video)
        detector.score_file(video)  # once before, so that loading the face networks is in neither
        score = detector.score_file(video)
        plain = plainly(video, detector)
    row = {
        "pipeline": "as it ships",
        "core seconds": round(score.core_seconds, 2),
        "core seconds a second of video": round(score.core_seconds / score.seconds_of_video, 3),
        "times as fast": round(plain / score.core_seconds, 1),
    }
    other = {"core seconds": round(plain, 2), "core seconds a second of video": round(plain / SECONDS, 3)}
    rows = (row, {"pipeline": "plain, frame by frame", **other, "times as fast": 1.0})
    notes = (
        f"{SECONDS} s of {WIDTH} x {HEIGHT} at {FPS} frames a second, one face; one thread; answer {score.status}.",
    )
    command = "python -m benchmarks.speed detect"
    Result("speed_detect", command, (Table("one minute, one face", rows),), notes).save(options.out)
    return 0
