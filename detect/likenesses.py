"""Which clips of one list show or say the same as clips of another: fingerprints, all pairs at once, then a close look.

    prints = fingerprint_of(path)
    for pair in likely_pairs(train_prints, val_prints): ...     # (row, column, Likeness)

Comparing two fingerprints over all crops and cuts takes milliseconds, and a dataset has millions of pairs. So a rough
likeness of all pairs comes first: scenes as one product of matrices, motion and sound as correlations over all cuts
through Fourier transforms. Only what is near there is compared as `provenance.likeness` does it.

Axes: N clips, T steps of time, C channels (cells of the picture, bands of the sound), F frequencies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detect.corpora.on_disk import PICTURES, pictures_in
from media.clip import FloatArray, MediaError
from media.video import probe, read_image, read_waveform, stream_frames
from provenance.fingerprint import (
    LONGEST_SECONDS,
    RATE,
    SOUND_RATE,
    Fingerprint,
    PictureFingerprinter,
    fingerprint_sound,
)
from provenance.likeness import Likeness, asked_scenes, compare, crop_scores, scene_of

LOOK_SIDE = 320
"""Pixels a film is reduced to while it is decoded; its cells are 48 a side."""
FRAMES_A_SECOND = 25
"""Of a folder of pictures, whose rate nobody tells."""
NEAR_LOOK: Final = 0.9
NEAR_MOTION: Final = 0.2
NEAR_SOUND: Final = 0.2
"""Rough correlations from which a pair is looked at closely: copies gave .93, .49 and .84 and more."""
BATCH: Final = 64


def fingerprint_of(path: Path) -> Fingerprint:
    """The fingerprint of a film, a picture, or a folder of pictures; its first minute.

    Raises:
        MediaError: when it cannot be decoded.
    """
    pictures = PictureFingerprinter()
    if path.is_dir():
        for number, one in enumerate(pictures_in(path)[: LONGEST_SECONDS * FRAMES_A_SECOND]):
            pictures.add(number / FRAMES_A_SECOND, read_image(one))
        return Fingerprint(*pictures.prints())
    if path.suffix.lower() in PICTURES:
        pictures.add(0.0, read_image(path))
        return Fingerprint(pictures.prints()[0])
    for frame in stream_frames(path, max_side=LOOK_SIDE):
        if frame.pts_seconds >= LONGEST_SECONDS:
            break
        pictures.add(frame.pts_seconds, frame.image)
    look, motion = pictures.prints()
    try:
        sound = read_waveform(path) if probe(path).has_sound else None
    except MediaError:
        # a damaged sound track must not hide what the pictures tell
        sound = None
    prints = Fingerprint(look, motion, later=pictures.later())
    return replace(prints, sound_AK=fingerprint_sound(sound.samples, sound.sample_rate_hz)) if sound else prints


def mirrored(print_: Fingerprint) -> Fingerprint:
    """The fingerprint of the same clip with left and right exchanged."""
    later = tuple(motion_THW[..., ::-1] for motion_THW in print_.later)
    return replace(print_, look_SHW=print_.look_SHW[..., ::-1], motion_THW=print_.motion_THW[..., ::-1], later=later)


def likely_pairs(rows: Sequence[Fingerprint], columns: Sequence[Fingerprint]) -> Iterator[tuple[int, int, Likeness]]:
    """Pairs of a row and a column that are near in motion or sound, or, where nothing moves, in what they show."""
    sound = rough_peaks([p.sound_AK for p in rows], [p.sound_AK for p in columns], SOUND_RATE) >= NEAR_SOUND
    seen = np.zeros(sound.shape, bool)
    for ours in (rows, [mirrored(p) for p in rows]):
        moving = rough_peaks([p.motion_THW for p in ours], [p.motion_THW for p in columns], RATE) >= NEAR_MOTION
        still = np.array([is_still(p) for p in ours], bool)[:, None] | np.array([is_still(p) for p in columns], bool)
        near = moving | (still & (rough_scenes(ours, columns) >= NEAR_LOOK)) | (sound & (ours is rows))
        for row, column in np.argwhere(near & ~seen):
            # which of the two is the copy is not known
            both = compare(ours[row], columns[column]), compare(columns[column], ours[row])
            yield int(row), int(column), min(both, key=lambda one: (one.false_chance, one.difference))
        seen |= near


def is_still(print_: Fingerprint) -> bool:
    """Whether there is a picture and nothing moves in it."""
    return bool(len(print_.look_SHW)) and not print_.motion_THW.any()


def rough_scenes(rows: Sequence[Fingerprint], columns: Sequence[Fingerprint]) -> FloatArray:
    """(rows, columns) best correlation of scenes over crops of either; -1 where one has no picture."""
    out = np.full((len(rows), len(columns)), -1.0, np.float32)
    seen = [[n for n, p in enumerate(prints) if len(p.look_SHW)] for prints in (rows, columns)]
    if not all(seen):
        return out
    ours, theirs = ([prints[n] for n in own] for prints, own in zip((rows, columns), seen, strict=True))
    best = np.maximum(_over_crops(ours, theirs), _over_crops(theirs, ours).T)
    out[np.ix_(*seen)] = best
    return out


def _over_crops(copies: Sequence[Fingerprint], originals: Sequence[Fingerprint]) -> FloatArray:
    """(copies, originals) best correlation of each copy's scene with crops of each original's."""
    scenes, lengths = (np.stack(part) for part in zip(*(scene_of(one) for one in originals), strict=True))
    return np.stack([crop_scores(asked_scenes(one), scenes, lengths).max(axis=-1) for one in copies])


def rough_peaks(rows: Sequence[NDArray[np.int8]], columns: Sequence[NDArray[np.int8]], least: int) -> FloatArray:
    """(rows, columns) best normalised correlation over all overlaps of three quarters of the shorter; -1 for none.

    Args:
        rows: prints over time, (T, ...).
        columns: the others.
        least: steps that must overlap.
    """
    out = np.full((len(rows), len(columns)), -1.0, np.float32)
    usable = [[n for n, p in enumerate(prints) if len(p) >= least and p.any()] for prints in (rows, columns)]
    if not all(usable):
        return out
    longest = max(len(rows[n]) for n in usable[0]) + max(len(columns[n]) for n in usable[1])
    size = 1 << (longest - 1).bit_length()
    for start in range(0, len(usable[1]), BATCH):
        part = usable[1][start : start + BATCH]
        theirs_NTC = [columns[n].reshape(len(columns[n]), -1).astype(np.float32) for n in part]
        spectra_NFC = np.stack([np.fft.rfft(one, size, axis=0).astype(np.complex64) for one in theirs_NTC])
        energies = [_running_energy(one) for one in theirs_NTC]
        for row in usable[0]:
            mine_TC = rows[row].reshape(len(rows[row]), -1).astype(np.float32)
            mine_FC = np.fft.rfft(mine_TC, size, axis=0).astype(np.complex64)
            products_NT = np.fft.irfft(np.einsum("nfc,fc->nf", spectra_NFC, mine_FC.conj()), size, axis=1)
            own = _running_energy(mine_TC)
            for column, product_T, energy in zip(part, products_NT, energies, strict=True):
                out[row, column] = _peak(product_T, own, energy, least)
    return out


def _running_energy(steps_TC: FloatArray) -> NDArray[np.float64]:
    """(T + 1,) energy of everything before each step."""
    return np.concatenate([[0.0], np.cumsum((steps_TC.astype(np.float64) ** 2).sum(1))])


def _peak(product_T: NDArray[np.float64], own: NDArray[np.float64], theirs: NDArray[np.float64], least: int) -> float:
    """Best correlation; a lag is the step of the other at which the first of ours lies."""
    mine, other = len(own) - 1, len(theirs) - 1
    needed = max(least, 3 * min(mine, other) // 4)
    lags = np.arange(needed - mine, other - needed + 1)
    if not len(lags):
        return -1.0
    first, last = np.maximum(0, -lags), np.minimum(mine, other - lags)
    energy = (own[last] - own[first]) * (theirs[last + lags] - theirs[first + lags])
    scores = product_T[lags % len(product_T)] / np.sqrt(np.maximum(energy, 1e-9))
    return float(np.where(energy > 0, scores, -1.0).max())
