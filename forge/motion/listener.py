"""interim"""

from __future__ import annotations
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from forge.motion.hearing import Heard
from forge.motion.visemes import VISEMES


def viseme_chances(heard: Heard) -> NDArray[np.float32]:
    """(T, V) chance of each viseme."""
    b = heard.bands * 30
    lo = b[:, 4:30].mean(1)
    mid = b[:, 30:50].mean(1)
    hi = b[:, 60:].mean(1)
    low = b[:, :8].mean(1)
    L = heard.level_db
    s = {
      "silence": np.where(L < -32, 3.0, -3.0),
      "a": (L + 8) / 3, "e": (L + 12) / 3 + (mid - lo) / 12 + 1, "i": (L + 14) / 3 + (mid - lo) / 9 + 1,
      "o": (L + 12) / 3 + (lo - mid) / 15 - 1, "u": (L + 16) / 3 + (lo - mid) / 12 - 1,
      "s": (hi - lo) / 4 + 1, "t": np.zeros(len(b)) + 0.3, "p": (low - mid - 24) / 3,
    }
    z = np.full((len(b), len(VISEMES)), -6.0)
    for k, v in s.items():
        z[:, VISEMES.index(k)] = gaussian_filter1d(v, 1.5)
    z -= z.max(1, keepdims=True)
    p = np.exp(z)
    return (p / p.sum(1, keepdims=True)).astype(np.float32)
