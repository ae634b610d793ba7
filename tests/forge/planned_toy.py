"""A foreign generator: the portrait, held still."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np

from media.clip import Waveform, frames_for


def still(portrait: np.ndarray, speech: Waveform, fps: Fraction, size: int) -> list[np.ndarray]:
    picture = cv2.resize(portrait, (size, size))
    return [np.asarray(picture, np.uint8)] * frames_for(speech.duration_seconds, fps)
