"""A foreign generator, small enough to read: it pans and zooms over a portrait, and a drawn mouth opens with loudness.

    toy = Foreign.parse(
        "toy={python} docs/examples/foreign_maker.py --image {portrait} --audio {speech} --out {out} "
        "--fps {fps} --size {size} --seed {seed}"
    )
    take = toy.method().open().film(portrait, speech, Shot(size=256))     # forge.foreign, forge.methods

Anything that reads a picture and a sound and writes an mp4 can stand in its place.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from media.clip import frames_for
from media.video import ClipWriter, read_image, read_waveform


def main() -> None:
    """Read the arguments, and draw one frame after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("image", "audio", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--fps", type=Fraction, default=Fraction(25))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()

    speech = read_waveform(asked.audio).mono()
    length = frames_for(speech.duration_seconds, asked.fps)
    loudness = np.array([np.sqrt(np.mean(part**2)) for part in np.array_split(speech.samples, length)])
    opening = np.convolve(loudness / max(float(loudness.max()), 1e-6), np.ones(3) / 3, mode="same")
    phase = np.random.default_rng(asked.seed).uniform(0, 2 * np.pi, 3)

    size = asked.size
    still = cv2.resize(read_image(asked.image), (size, size), interpolation=cv2.INTER_AREA)
    with ClipWriter(asked.out, asked.fps, size, size) as writer:
        for number in range(length):
            picture = still.copy()
            mouth = (round(0.5 * size), round(0.57 * size))
            cv2.ellipse(
                picture, mouth, (size // 14, 1 + round(0.05 * size * opening[number])), 0, 0, 360, (60, 20, 25), -1
            )
            turn, right, down = np.sin(2 * np.pi * number / float(asked.fps) / 3 + phase)
            view = cv2.getRotationMatrix2D((size / 2, size / 2), 1.5 * turn, 1.06)
            view[:, 2] += 0.02 * size * np.array([right, down])
            shown = cv2.warpAffine(picture, view, (size, size), borderMode=cv2.BORDER_REPLICATE)
            writer.add(np.asarray(shown, np.uint8))


if __name__ == "__main__":
    main()
