"""An invisible mark in the pictures: 48 bits that name a credential, still there after a platform changed the file.

    marker = Watermarker(0x0123456789AB)
    frames = (marker.mark(image) for image in frames)          # one marker per clip, frames in order
    reading = listen(frames)                                   # from the copy that came back
    heard = reading.find(known=[0x0123456789AB, ...])          # Heard(identifier, chance of a false match), or None

How it works, told once:

1. The mark is one pattern for the whole clip, laid over the shorter side of the picture: a sum of 1,900 waves of 9
   to 36 periods a side. It stands still, so it cannot flicker, and an encoder that skips still blocks carries it
   along. Sides, not pixels: a resized copy has the same pattern.
2. Every second wave is always the same: the template, by which a reader finds scale and place (a crop, a mirror) from
   one correlation a scale. The others carry 216 coded bits (`provenance.watermark_code`), each spread over the picture.
3. Where the picture is busy the pattern is stronger, where it is flat it is weaker, and a frame never loses more than
   `FAINTEST_PSNR_DB`. The picture's own contribution to every bit is measured and cancelled (improved spread spectrum,
   Malvar and Florencio 2003).
4. A reader takes the mean over frames of what is finer than the picture's shapes, divided by the local energy, so that
   every block and every frame has a vote and a sharp edge does not outvote the rest.
5. Known identifiers are tested first: agreement of all coded bits with one word, judged by Hoeffding's bound, times the
   number of trials. Then the bits are decoded without knowing any.

The pattern is public: whoever reads this can remove the mark, or copy it to other pictures. It finds the credential of
an original; that a copy is unaltered it cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from provenance.watermark_code import CHECK_BITS, CODED_BITS, decode, encode

UInt8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
ComplexArray = NDArray[np.complex64]

ALGORITHM: Final = "org.countermark.watermark.1"
"""Name in a `c2pa.soft-binding` assertion. A change to the pattern is a new number."""
GRID: Final = 192
"""The shorter side of a picture, in cells of the analysis; the pattern repeats along the longer side."""
SMALLEST_SIDE: Final = 64
"""Pixels. Smaller pictures cannot hold the waves and are left unmarked."""
FAINTEST_PSNR_DB: Final = 40.0

_LOWEST, _HIGHEST = 9.0, 36.0
"""Periods a side. Slower waves drown in the picture, faster ones die in an encoder at 256 pixels."""
_TEMPLATE_SHARE = 0.5
_FLAT, _BUSY, _STRONGEST = 0.8, 0.18, 2.0
"""Strength in grey levels: on flat ground, more for every level of local deviation, and never above."""
_DARKEST, _LIT = 0.6, 70.0
"""Share of the strength that is left in black, and the luma from which on all of it is used."""
_BY_SIDE = 0.6
"""How fast the strength falls with the size of the picture in pixels."""
_QUIET = 4.0
"""Grey levels of deviation that pass for flat: below, dividing by the local energy would amplify an encoder's noise."""
_CANCELLED = 0.9
_MEMORY_OF_FRAMES = 0.1
"""Weight of the newest frame in what is cancelled: it follows the picture in about ten frames, so nothing flickers."""
_WEAKEST_BIT, _STRONGEST_BIT = 0.2, 2.5
_FLATTENED = 1.0
"""Exponent of spectral flattening in the reader: a few strong waves of the picture must not outshout the template."""

SCALES: Final = tuple(float(0.74 * 1.0085**step) for step in range(57))
"""Sizes of the copy's shorter side that a reader tries, the marked picture's being 1: crops below, borders above."""
_PEAKS = 12
"""Places that are looked at more closely: the strongest ones of all scales."""
FALSE_ALARM: Final = 1e-4
"""Largest chance, over everything that was tried in one file, with which a match is still believed."""
RAREST: Final = 1e-6
"""Chance below which no confidence goes: models of chance are not that good."""
_WORDS_AT_ONCE: Final = 8192
"""Code words that are held at a time: seven megabytes."""
_MOST_LOOKS = 2 * (1 + 2 * _PEAKS)
"""Places that are looked at closely in one file, mirrored ones too: each is a trial."""


@dataclass(frozen=True)
class Heard:
    """A watermark that was found."""

    identifier: int
    known: bool
    """Whether it is one of the identifiers that were asked for."""
    false_chance: float
    """Chance that pictures without this mark would have passed, all trials counted."""
    agreement: float
    """Coded bits that agree with the word, 0.5 by chance, 1.0 untouched."""
    scale: float
    """Shorter side of the copy in those of the marked picture: 0.9 after a crop to nine tenths."""
    mirrored: bool

    @property
    def confidence(self) -> float:
        """One minus the chance of a false match, which nobody has measured below one in a million."""
        return 1.0 - min(1.0, max(self.false_chance, RAREST))


class Watermarker:
    """Marks the frames of one clip, in order; the same frames and identifier give the same bytes."""

    def __init__(self, identifier: int) -> None:
        self._signs_K = encode([identifier])[0]
        self._host_K: FloatArray | None = None
        self._gain = 1.0

    def mark(self, image: UInt8Array) -> UInt8Array:
        """The picture with its mark.

        Args:
            image: (H, W, 3) uint8 RGB; left as it is. Below 64 pixels a side it is returned unmarked.
        """
        height, width = image.shape[:2]
        if min(height, width) < SMALLEST_SIDE:
            return image
        shape_HW = _grid_shape(height, width)
        luma_HW = _reduced(image)
        residual_HW, energy_HW = _fine(luma_HW)
        strength_HW = _strength(luma_HW, energy_HW, min(height, width))
        host_K = _listened(_spectrum(_weighted(residual_HW, energy_HW)))[1]
        if self._host_K is None:
            plain_HW = _laid(_pattern(self._signs_K), shape_HW)
            answer_K = _listened(_spectrum(_weighted(plain_HW * strength_HW, energy_HW)))[1]
            self._gain = max(float(np.mean(answer_K * self._signs_K)), 1e-6)
            self._host_K = host_K
        self._host_K = (1 - _MEMORY_OF_FRAMES) * self._host_K + _MEMORY_OF_FRAMES * host_K
        wanted_K = 1 - _CANCELLED * self._host_K * self._signs_K / self._gain
        levels_K = self._signs_K * np.clip(wanted_K, _WEAKEST_BIT, _STRONGEST_BIT)
        mark_HW = _laid(_pattern(levels_K.astype(np.float32)), shape_HW) * strength_HW
        loudest = 255.0 * 10 ** (-(FAINTEST_PSNR_DB + 0.2) / 20)
        mark_HW *= min(1.0, loudest / max(float(np.sqrt(np.mean(mark_HW**2))), 1e-6))
        full_HW = cv2.resize(mark_HW, (width, height), interpolation=cv2.INTER_CUBIC)
        # in whole numbers: twice as quick as floats
        levels_HW = np.rint(full_HW).astype(np.int16)
        return np.asarray(cv2.add(image, cv2.merge((levels_HW, levels_HW, levels_HW)), dtype=cv2.CV_8U), np.uint8)


def mark_frames(frames: Iterable[UInt8Array], identifier: int) -> Iterator[UInt8Array]:
    """Every frame of a clip with the mark of one identifier."""
    marker = Watermarker(identifier)
    for image in frames:
        yield marker.mark(image)


@dataclass(frozen=True, eq=False)
class Reading:
    """What is left of a clip when its pictures are averaged away: the votes of all frames and blocks."""

    votes_HW: FloatArray
    """Fine structure over local energy, mean over frames; the shorter side is GRID cells."""
    frames: int
    _found: list[tuple[bool, list[_Place]]] = field(default_factory=list, repr=False)

    def find(self, known: Sequence[int] = ()) -> Heard | None:
        """The mark in these pictures; None when no identifier passes with a false chance of at most FALSE_ALARM.

        The steps: look where an unmoved picture has its template; then at all scales; then in the mirror.

        Args:
            known: identifiers to test first; they are found in copies too poor to decode without knowing any.
        """
        for mirrored, places in self._looks():
            heard = _best_word(places, known, mirrored) or _decoded(places, mirrored)
            if heard is not None:
                return heard
        return None

    def _looks(self) -> Iterator[tuple[bool, list[_Place]]]:
        """(mirrored, places), the likeliest first; each is worked out once."""
        for number in range(4):
            if number == len(self._found):
                mirrored = number >= 2
                votes_HW = np.ascontiguousarray(self.votes_HW[:, ::-1]) if mirrored else self.votes_HW
                self._found.append((mirrored, _everywhere(votes_HW) if number % 2 else _unmoved(votes_HW)))
            yield self._found[number]


def listen(frames: Iterable[UInt8Array]) -> Reading | None:
    """Read the votes of frames, each once; None when there are none, or none large enough.

    Args:
        frames: (H, W, 3) uint8 RGB, all of one size.
    """
    listener = Listener()
    for image in frames:
        listener.add(image)
    return listener.reading()


class Listener:
    """Collects the votes of frames as they come."""

    def __init__(self) -> None:
        self._sum_HW: FloatArray | None = None
        self._frames = 0

    def add(self, image: UInt8Array) -> None:
        """One more frame, (H, W, 3) uint8 RGB; one of another size than the first, or too small, is passed over."""
        if min(image.shape[:2]) < SMALLEST_SIDE // 2:
            return
        votes_HW = _weighted(*_fine(_reduced(image)))
        if self._sum_HW is None:
            self._sum_HW = np.zeros_like(votes_HW)
        if self._sum_HW.shape == votes_HW.shape:
            self._sum_HW += votes_HW
            self._frames += 1

    def reading(self) -> Reading | None:
        """The mean of all votes; None without any."""
        if self._sum_HW is None or not self._frames:
            return None
        return Reading(self._sum_HW / np.float32(self._frames), self._frames)


# ------------------------------------------------------------------------------------------ the pattern
# Axes: H W cells of the grid; F waves; K coded bits; N identifiers.


@dataclass(frozen=True, eq=False)
class _Waves:
    """The waves of the pattern, as entries of the half-plane spectrum of a GRID x GRID tile."""

    rows_F: NDArray[np.int64]
    columns_F: NDArray[np.int64]
    phases_F: ComplexArray
    sizes_F: FloatArray
    """Amplitude in the pattern: slow waves a little larger, since encoders spare them."""
    bit_F: NDArray[np.int64]
    """Which coded bit a wave carries; CODED_BITS for the template."""


@lru_cache(maxsize=1)
def _waves() -> _Waves:
    # a fixed generator: this is the format, and every reader must draw the same
    random = np.random.default_rng(np.random.PCG64(0x57415645))
    rows, columns = np.meshgrid(np.fft.fftfreq(GRID, 1 / GRID), np.arange(GRID // 2 + 1), indexing="ij")
    periods = np.hypot(rows, columns)
    inside = (periods >= _LOWEST) & (periods <= _HIGHEST) & ((columns > 0) | (rows > 0))
    rows_F, columns_F = (index.astype(np.int64) for index in np.nonzero(inside))
    count = len(rows_F)
    order = random.permutation(count)
    bit_F = np.full(count, CODED_BITS, np.int64)
    carriers = order[int(_TEMPLATE_SHARE * count) :]
    bit_F[carriers] = np.arange(len(carriers)) % CODED_BITS
    phases_F = np.exp(2j * np.pi * random.random(count)).astype(np.complex64)
    relative_F = (periods[inside] / 20.0).astype(np.float32)
    return _Waves(rows_F, columns_F, phases_F, 1 / np.sqrt(relative_F), bit_F)


@lru_cache(maxsize=1)
def _loudness() -> float:
    """Standard deviation of the pattern when every bit has strength one; the same for every word."""
    return float(np.sqrt(2 * np.sum(_waves().sizes_F.astype(np.float64) ** 2)) / GRID**2)


def _pattern(levels_K: FloatArray) -> FloatArray:
    """(GRID, GRID) of standard deviation about one: the template, and every bit with its level."""
    waves = _waves()
    levels_F = np.append(levels_K, np.float32(1.0))[waves.bit_F]
    spectrum = np.zeros((GRID, GRID // 2 + 1), np.complex64)
    spectrum[waves.rows_F, waves.columns_F] = waves.phases_F * waves.sizes_F * levels_F
    return np.asarray(fft.irfft2(spectrum, s=(GRID, GRID)) / np.float32(_loudness()), np.float32)


@lru_cache(maxsize=1)
def _template() -> ComplexArray:
    """The conjugate spectrum of the template as the reader weighs it: all waves alike."""
    waves = _waves()
    chosen = waves.bit_F == CODED_BITS
    spectrum = np.zeros((GRID, GRID // 2 + 1), np.complex64)
    spectrum[waves.rows_F[chosen], waves.columns_F[chosen]] = np.conj(waves.phases_F[chosen])
    return spectrum


def _laid(tile: FloatArray, shape_HW: tuple[int, int]) -> FloatArray:
    """The tile repeated over a picture of this many cells."""
    height, width = shape_HW
    return np.tile(tile, (-(-height // GRID), -(-width // GRID)))[:height, :width]


# ------------------------------------------------------------------------------------------ pictures to votes


def _grid_shape(height: int, width: int) -> tuple[int, int]:
    side = min(height, width)
    return round(height * GRID / side), round(width * GRID / side)


def _reduced(image: UInt8Array) -> FloatArray:
    """Luma on the grid."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    rows, columns = _grid_shape(*luma.shape[:2])
    how = cv2.INTER_AREA if min(luma.shape[:2]) >= GRID else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(luma, (columns, rows), interpolation=how), np.float32)


def _fine(luma_HW: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What is finer than the slowest wave, and its local energy."""
    residual = luma_HW - cv2.GaussianBlur(luma_HW, (0, 0), 4)
    return residual, np.asarray(cv2.GaussianBlur(residual * residual, (0, 0), 3), np.float32)


def _strength(luma_HW: FloatArray, energy_HW: FloatArray, side: int) -> FloatArray:
    """Grey levels that the eye forgives: more where it is busy, less in the dark, less in a larger picture."""
    busy_HW = np.minimum(_FLAT + _BUSY * np.sqrt(energy_HW), _STRONGEST)
    dark_HW = np.minimum(1.0, _DARKEST + (1 - _DARKEST) * cv2.GaussianBlur(luma_HW, (0, 0), 4) / _LIT)
    # at twice the pixels an encoder leaves more of the waves, so that less will do
    size = float(np.clip((side / 256) ** -_BY_SIDE, 0.5, 1.25))
    strength: FloatArray = (busy_HW * dark_HW * size).astype(np.float32)
    return strength


def _weighted(residual_HW: FloatArray, energy_HW: FloatArray) -> FloatArray:
    weighted: FloatArray = residual_HW / (energy_HW + np.float32(_QUIET**2))
    return weighted


def _spectrum(votes_HW: FloatArray) -> ComplexArray:
    """The spectrum of the votes, all repetitions of the tile laid over one another."""
    height, width = votes_HW.shape
    rows, columns = -(-height // GRID), -(-width // GRID)
    padded = np.zeros((rows * GRID, columns * GRID), np.float32)
    padded[:height, :width] = votes_HW
    return np.asarray(fft.rfft2(padded.reshape(rows, GRID, columns, GRID).sum((0, 2))), np.complex64)


def _listened(spectrum: ComplexArray, shift: tuple[float, float] = (0.0, 0.0)) -> tuple[float, FloatArray]:
    """Agreement with the template, and with each coded bit (K,), when the pattern lies `shift` cells down and right."""
    waves = _waves()
    turn_F = np.exp(2j * np.pi / GRID * (waves.rows_F * shift[0] + waves.columns_F * shift[1])).astype(np.complex64)
    heard_F = (spectrum[waves.rows_F, waves.columns_F] * np.conj(waves.phases_F) * turn_F).real
    sums = np.bincount(waves.bit_F, heard_F, CODED_BITS + 1).astype(np.float32)
    return float(sums[CODED_BITS]), sums[:CODED_BITS]


# ------------------------------------------------------------------------------------------ finding the place


@dataclass(frozen=True, eq=False)
class _Place:
    """One way in which the pattern may lie over a copy."""

    template: float
    """Deviations of the template's agreement from what other places give."""
    places_tried: int
    """How many places this one was the best of: none of them counts as luck for a place that was known before."""
    scale: float
    bits_K: FloatArray


@dataclass(frozen=True, eq=False)
class _Peak:
    """A cell where the template agrees, before a closer look."""

    template: float
    scale: float
    shift: tuple[int, int]
    spectrum: ComplexArray


def _flattened(spectrum: ComplexArray) -> ComplexArray:
    """Only the waves of the pattern, the strong ones toned down."""
    waves = _waves()
    heard_F = spectrum[waves.rows_F, waves.columns_F]
    size_F = np.abs(heard_F)
    out = np.zeros_like(spectrum)
    out[waves.rows_F, waves.columns_F] = heard_F / (size_F + 0.5 * np.median(size_F) + 1e-12) ** _FLATTENED
    return out


def _template_map(votes_HW: FloatArray, scale: float) -> tuple[FloatArray, ComplexArray]:
    """Agreement with the template at every shift, in deviations, and the spectrum it came from."""
    spectrum = _flattened(_spectrum(_scaled(votes_HW, scale)))
    map_HW = fft.irfft2(spectrum * _template(), s=(GRID, GRID))
    return (map_HW - map_HW.mean()) / max(float(map_HW.std()), 1e-12), spectrum


def _unmoved(votes_HW: FloatArray) -> list[_Place]:
    """The place of a copy that was resized at most."""
    map_HW, spectrum = _template_map(votes_HW, 1.0)
    return [_Place(float(map_HW[0, 0]), 1, 1.0, _listened(spectrum)[1])]


def _everywhere(votes_HW: FloatArray) -> list[_Place]:
    """Crops about the middle at every scale, and the places where the template stands out most, best first."""
    centred, peaks = [], []
    for scale in SCALES:
        map_HW, spectrum = _template_map(votes_HW, scale)
        # where the middle of the copy is the middle of the original
        rows, columns = (round(length * (1 - scale) / 2) for length in votes_HW.shape)
        near = [(rows + down, columns + across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
        row, column = max(near, key=lambda one: map_HW[one[0] % GRID, one[1] % GRID])
        centred.append(_Peak(float(map_HW[row % GRID, column % GRID]), scale, (row, column), spectrum))
        for index in np.argpartition(map_HW, -3, axis=None)[-3:]:
            row, column = divmod(int(index), GRID)
            peaks.append(_Peak(float(map_HW[row, column]), scale, (row, column), spectrum))
    centred.sort(key=lambda one: -one.template)
    peaks.sort(key=lambda one: -one.template)
    places = [_refined(one, 9 * len(SCALES)) for one in centred[:_PEAKS]]
    return places + [_refined(one, GRID * GRID * len(SCALES)) for one in peaks[:_PEAKS]]


def _scaled(votes_HW: FloatArray, scale: float) -> FloatArray:
    if scale == 1.0:
        return votes_HW
    size = (max(2, round(votes_HW.shape[1] * scale)), max(2, round(votes_HW.shape[0] * scale)))
    return np.asarray(cv2.resize(votes_HW, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _refined(peak: _Peak, places_tried: int) -> _Place:
    """The place between cells where the template agrees best; a copy rarely moves by whole cells."""
    best, best_bits = _listened(peak.spectrum, peak.shift)
    for down in (-0.5, 0.0, 0.5):
        for across in (-0.5, 0.0, 0.5):
            agreement, bits_K = _listened(peak.spectrum, (peak.shift[0] + down, peak.shift[1] + across))
            if agreement > best:
                best, best_bits = agreement, bits_K
    return _Place(peak.template, places_tried, peak.scale, best_bits)


# ------------------------------------------------------------------------------------------ judging


def _best_word(places: Sequence[_Place], known: Sequence[int], mirrored: bool) -> Heard | None:
    """The known identifier that agrees best, when chance would not."""
    if not len(known):
        return None
    bits_PK = np.stack([place.bits_K for place in places])
    bits_PK /= np.maximum(np.linalg.norm(bits_PK, axis=1, keepdims=True), 1e-12)
    best = (-float("inf"), 0, 0)
    for start in range(0, len(known), _WORDS_AT_ONCE):
        # a sum of +-w over a random word has a sub-Gaussian tail: P(z > t) <= exp(-t^2 / 2) (Hoeffding 1963)
        scores_NP = _words(tuple(known[start : start + _WORDS_AT_ONCE])) @ bits_PK.T
        row, number = divmod(int(np.argmax(scores_NP)), len(places))
        best = max(best, (float(scores_NP[row, number]), start + row, number))
    score, index, number = best
    chance = min(1.0, _MOST_LOOKS * len(known) * float(np.exp(-(max(score, 0.0) ** 2) / 2)))
    if chance > FALSE_ALARM:
        return None
    place = places[number]
    agreement = float(np.mean(np.sign(place.bits_K) == encode([known[index]])[0]))
    return Heard(known[index], True, chance, agreement, place.scale, mirrored)


@lru_cache(maxsize=4)
def _words(known: tuple[int, ...]) -> FloatArray:
    """(N, 216): their code words; kept, since a file is looked at in several ways."""
    return encode(known)


def _decoded(places: Sequence[_Place], mirrored: bool) -> Heard | None:
    """An identifier that nobody asked for: where the template is there beyond chance, and the checksum holds."""
    for place in places:
        luck = min(1.0, place.places_tried * float(np.exp(-(max(place.template, 0.0) ** 2) / 2)))
        chance = _MOST_LOOKS * luck * 2.0**-CHECK_BITS
        identifier = decode(place.bits_K) if chance <= FALSE_ALARM else None
        if identifier is not None:
            agreement = float(np.mean(np.sign(place.bits_K) == encode([identifier])[0]))
            return Heard(identifier, False, chance, agreement, place.scale, mirrored)
    return None


def identifier_text(identifier: int) -> str:
    """Twelve hexadecimal digits: how an identifier stands in a manifest and in a file name."""
    return f"{identifier:012x}"


def identifier_from(text: str) -> int:
    """The identifier behind twelve hexadecimal digits.

    Raises:
        ValueError: for any other text.
    """
    if len(text) != 12 or not all(one in "0123456789abcdef" for one in text):
        raise ValueError(f"an identifier is twelve hexadecimal digits, got {text!r}")
    return int(text, 16)
