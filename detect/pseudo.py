"""Forgeries made from real frames, so that a detector learns traces of forging and not who or what is in the picture.

Two families, written from the papers:

- `self_blend`: one real face pasted onto a slightly moved, recoloured or re-sharpened copy of itself (self-blended
  images; Shiohara & Yamasaki, CVPR 2022). It teaches the border and the mismatch that a face swap leaves.
- `reconstruct`: the face sent through something that a generator contains: resampling, a patch autoencoder, a learned
  upsampler with uneven phases, a mesh warp. It teaches what whole-face synthesis leaves, where nothing is blended.

Every forgery has the size, the colours and the content of its real twin. `Treatment` is the camera, scaler and codec
that both twins pass through with the *same* numbers, so that neither size nor encoding ever tells the label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from media.clip import FloatArray, UInt8Array

Rng = np.random.Generator
Forger = Callable[[UInt8Array, FloatArray, Rng], UInt8Array]

INNER_FACE = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 263, 361, 291, 405, 17, 181, 61, 132, 33)
"""Landmarks around brows, eyes, nose and mouth: what most face swaps replace."""
LOWER_FACE = (
    234,
    93,
    132,
    58,
    172,
    136,
    150,
    149,
    176,
    148,
    152,
    377,
    400,
    378,
    379,
    365,
    397,
    288,
    361,
    323,
    454,
    197,
)
"""Landmarks from the bridge of the nose to the chin: what lip-syncing replaces."""
MOUTH = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91)
KERNELS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4)


def _image(values: FloatArray | NDArray[np.float64]) -> UInt8Array:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _resize(image: UInt8Array, width: int, height: int, kernel: int) -> UInt8Array:
    return np.asarray(cv2.resize(image, (max(2, width), max(2, height)), interpolation=kernel), np.uint8)


def face_mask(landmarks: FloatArray, height: int, width: int, rng: Rng) -> FloatArray:
    """A soft mask over the whole face, its inside or its lower half.

    Args:
        landmarks: (478, 2 or more) pixels of this picture.
        height: of the picture.
        width: of the picture.
        rng: source of chance.

    Returns:
        (height, width) float32 in [0, 1].
    """
    kind = rng.choice(3, p=[0.5, 0.3, 0.2])
    points = landmarks[:, :2] if kind == 0 else landmarks[list(INNER_FACE if kind == 1 else LOWER_FACE), :2]
    hull = cv2.convexHull(np.rint(points).astype(np.int32))
    mask = np.zeros((height, width), np.float32)
    cv2.fillConvexPoly(mask, hull, 1.0)
    mask = _elastic(mask, rng, strength=0.03 * width, smooth=0.08 * width)
    side = float(np.sqrt(max(mask.sum(), 1.0)))
    first, second = rng.uniform(0.01, 0.12, 2) * side
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), max(first, 0.5)), np.float32)
    # a second, thresholded blur makes borders of different width on different sides
    mask = np.where(mask < rng.uniform(0.2, 0.6), 0.0, mask).astype(np.float32)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), max(second, 0.5)), np.float32)
    peak = float(mask.max())
    return mask / peak if peak > 0 else mask


def _elastic(picture: FloatArray, rng: Rng, strength: float, smooth: float) -> FloatArray:
    height, width = picture.shape[:2]
    cells = max(4, round(max(height, width) / max(smooth, 1.0)))
    coarse = rng.uniform(-1, 1, (2, cells, cells)).astype(np.float32) * np.float32(strength)
    shift = [cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC) for field in coarse]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.asarray(
        cv2.remap(picture, x + shift[0], y + shift[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def shift_look(image: UInt8Array, rng: Rng) -> UInt8Array:
    """The same picture with other colours, contrast or sharpness, as another camera or a renderer would give."""
    out = image.astype(np.float32)
    if rng.random() < 0.6:
        out = out * rng.uniform(0.88, 1.12, 3).astype(np.float32) + rng.uniform(-12, 12, 3).astype(np.float32)
    if rng.random() < 0.4:
        hsv = cv2.cvtColor(_image(out), cv2.COLOR_RGB2HSV).astype(np.float32)
        hsv *= np.array([1.0, rng.uniform(0.75, 1.25), rng.uniform(0.88, 1.12)], np.float32)
        hsv[..., 0] = (hsv[..., 0] + rng.uniform(-4, 4)) % 180
        out = cv2.cvtColor(_image(hsv), cv2.COLOR_HSV2RGB).astype(np.float32)
    if rng.random() < 0.3:
        out = (out - 128) * rng.uniform(0.8, 1.2) + 128
    choice = rng.random()
    if choice < 0.35:
        soft = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.5, 1.5))
        out = out + rng.uniform(0.3, 1.2) * (out - soft)
    elif choice < 0.8:
        height, width = image.shape[:2]
        part = rng.uniform(0.3, 0.8)
        reduced = _resize(_image(out), round(width * part), round(height * part), int(rng.choice(KERNELS)))
        out = _resize(reduced, width, height, int(rng.choice(KERNELS[1:]))).astype(np.float32)
    return _image(out)


def self_blend(image: UInt8Array, landmarks: FloatArray, rng: Rng) -> UInt8Array:
    """A face blended onto a transformed copy of itself.

    Args:
        image: (H, W, 3) uint8 RGB of a real face.
        landmarks: (478, 2 or more) pixels of it.
        rng: source of chance.
    """
    height, width = image.shape[:2]
    source, target = image, image
    if rng.random() < 0.5:
        source = shift_look(image, rng)
    else:
        target = shift_look(image, rng)
    mask = face_mask(landmarks, height, width, rng)
    ratio = float(rng.choice([0.25, 0.5, 0.75, 1.0, 1.0, 1.0]))
    centre = landmarks[:, :2].mean(axis=0)
    turned = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), rng.uniform(-2, 2), rng.uniform(0.95, 1.05))
    matrix = np.asarray(turned, np.float64)
    matrix[:, 2] += rng.uniform(-0.03, 0.03, 2) * np.array([width, height])
    moved = cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    bent = _elastic(moved.astype(np.float32), rng, strength=0.008 * width, smooth=0.05 * width)
    weight = (mask * ratio)[..., None]
    return _image(bent * weight + target.astype(np.float32) * (1 - weight))


def resample_chain(image: UInt8Array, landmarks: FloatArray, rng: Rng) -> UInt8Array:
    """Down and up again with random kernels: the resolution limit of a generator."""
    height, width = image.shape[:2]
    out = image
    for _ in range(int(rng.integers(1, 3))):
        part = rng.uniform(0.35, 0.85)
        reduced = _resize(out, round(width * part), round(height * part), int(rng.choice(KERNELS)))
        out = _resize(reduced, width, height, int(rng.choice(KERNELS)))
    return out


def patch_autoencoder(image: UInt8Array, landmarks: FloatArray, rng: Rng) -> UInt8Array:
    """A linear convolutional autoencoder fitted to this picture: strided patches, few components.

    The encoder is the principal components of the picture's own patches (the best linear autoencoder there is), the
    decoder a transposed convolution whose windows may overlap unevenly, as in generators.
    """
    size, stride = [(8, 4), (8, 8), (6, 3), (7, 4), (5, 3), (6, 6)][int(rng.integers(6))]
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, size, size, size, size, cv2.BORDER_REFLECT).astype(np.float32)
    view = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))[::stride, ::stride]
    rows, columns = view.shape[:2]
    patch_PD = view.reshape(rows * columns, -1)
    mean_D = patch_PD.mean(axis=0)
    centred_PD = patch_PD - mean_D
    fitted = centred_PD[rng.permutation(len(centred_PD))[:800]]
    _, basis_DD = np.linalg.eigh(fitted.T @ fitted)
    kept = max(3, round(patch_PD.shape[1] * float(np.exp(rng.uniform(np.log(0.03), np.log(0.25))))))
    basis_DK = np.ascontiguousarray(basis_DD[:, ::-1][:, :kept])
    code_PK = centred_PD @ basis_DK
    jitter = rng.standard_normal(code_PK.shape, np.float32) * np.float32(rng.uniform(0, 0.04))
    code_PK += jitter * code_PK.std(axis=0)
    decoded = (code_PK @ basis_DK.T + mean_D).reshape(rows, columns, 3, size, size).transpose(3, 4, 0, 1, 2)
    decoded = np.ascontiguousarray(decoded)
    flat = np.ones((size, size), np.float32)
    window = flat if rng.random() < 0.6 else np.outer(np.hanning(size + 2), np.hanning(size + 2))[1:-1, 1:-1]
    total, weight = np.zeros_like(padded), np.full(padded.shape[:2], 1e-6, np.float32)
    for dy in range(size):
        for dx in range(size):
            w = np.float32(window[dy, dx])
            place = slice(dy, dy + rows * stride, stride), slice(dx, dx + columns * stride, stride)
            total[place][:rows, :columns] += w * decoded[dy, dx]
            weight[place][:rows, :columns] += w
    if rng.random() < 0.4:
        # a decoder that does not quite normalise its overlaps: the checkerboard of transposed convolutions
        weight = weight ** np.float32(rng.uniform(0.97, 1.0))
    out = total / weight[..., None]
    return _image(out[size : size + height, size : size + width])


def uneven_upsampler(image: UInt8Array, landmarks: FloatArray, rng: Rng) -> UInt8Array:
    """Reduced, then brought back by pixel shuffle or a transposed convolution whose phases differ a little."""
    height, width = image.shape[:2]
    factor = int(rng.choice([2, 2, 4]))
    base = _resize(image, -(-width // factor), -(-height // factor), cv2.INTER_AREA)
    smooth = _resize(base, base.shape[1] * factor, base.shape[0] * factor, int(rng.choice(KERNELS[1:])))
    out = smooth[:height, :width].astype(np.float32)
    detail = image.astype(np.float32) - out
    gain = rng.uniform(0.3, 0.8)
    phase = rng.normal(0, rng.uniform(0.005, 0.03), (factor, factor, 3)).astype(np.float32)
    tiled = np.tile(phase, (-(-height // factor), -(-width // factor), 1))[:height, :width]
    contrast = out - cv2.GaussianBlur(out, (0, 0), 4 * factor)
    return _image(out + gain * cv2.GaussianBlur(detail, (0, 0), rng.uniform(0.5, 1.2)) + tiled * (24 + contrast))


def mesh_warp(image: UInt8Array, landmarks: FloatArray, rng: Rng) -> UInt8Array:
    """The face moved by a smooth field, as a driven portrait is, with a repainted mouth now and then."""
    height, width = image.shape[:2]
    out = image.astype(np.float32)
    for _ in range(int(rng.integers(1, 4))):
        # every pass of a driven portrait samples the picture anew and loses a little more of its grain
        out = _elastic(out, rng, strength=rng.uniform(0.005, 0.02) * width, smooth=rng.uniform(0.04, 0.12) * width)
    if rng.random() < 0.6:
        hull = cv2.convexHull(np.rint(landmarks[list(MOUTH), :2]).astype(np.int32))
        mask = np.zeros((height, width), np.float32)
        cv2.fillConvexPoly(mask, hull, 1.0)
        weight = np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.012 * width), np.float32)[..., None]
        soft = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.8, 2.5))
        out = out * (1 - weight) + np.asarray(soft, np.float32) * weight
    return _image(out)


def smooth_skin(image: UInt8Array, landmarks: FloatArray, rng: Rng) -> UInt8Array:
    """Edges kept, grain gone: what denoisers inside generators leave."""
    sigma = rng.uniform(8, 28)
    smooth = cv2.bilateralFilter(image, 5, sigma, rng.uniform(1.5, 4)).astype(np.float32)
    grain = cv2.GaussianBlur(rng.normal(0, 1, image.shape[:2]).astype(np.float32), (0, 0), rng.uniform(0.5, 1.5))
    return _image(smooth + grain[..., None] / (grain.std() + 1e-6) * rng.uniform(0, 2.0))


def reconstruct(image: UInt8Array, landmarks: FloatArray, rng: Rng) -> UInt8Array:
    """A real picture sent through one or two pieces of a generator, the whole frame or only the face.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (478, 2 or more) pixels of it.
        rng: source of chance.
    """
    pieces: tuple[Forger, ...] = (resample_chain, patch_autoencoder, uneven_upsampler, mesh_warp, smooth_skin)
    chosen = rng.choice(len(pieces), size=int(rng.choice([1, 1, 2])), replace=False, p=[0.15, 0.3, 0.2, 0.2, 0.15])
    out = image
    for i in chosen:
        out = pieces[int(i)](out, landmarks, rng)
    if rng.random() < 0.3:
        mask = face_mask(landmarks, image.shape[0], image.shape[1], rng)[..., None]
        out = _image(out * mask + image.astype(np.float32) * (1 - mask))
    return out


def forge(image: UInt8Array, landmarks: FloatArray, rng: Rng, blend_share: float = 0.5) -> UInt8Array:
    """One pseudo-forgery of a real face: self-blended with the given chance, else reconstructed, sometimes both."""
    if rng.random() < blend_share:
        out = self_blend(image, landmarks, rng)
        return reconstruct(out, landmarks, rng) if rng.random() < 0.15 else out
    return reconstruct(image, landmarks, rng)


@dataclass(frozen=True)
class Treatment:
    """What scaler, lens, sensor and codec do to a picture: plain numbers, so that two pictures can get the same."""

    side: int
    """The square is reduced to this many pixels and brought back."""
    blur: float
    """Gaussian sigma, pixels; 0 for none."""
    noise: float
    """Standard deviation of grain, grey levels; 0 for none."""
    qualities: tuple[int, ...]
    """One JPEG pass each, at the reduced size; the last one may be of another size."""
    gain: tuple[float, float, float]
    """Colour gains."""
    gamma: float
    kernels: tuple[int, int]
    """OpenCV interpolation down and up."""
    grain_seed: int
    """The same grain for both twins."""

    def __post_init__(self) -> None:
        """Refuse sizes, qualities and strengths that mean nothing."""
        if self.side < 16:
            raise ValueError(f"side must be at least 16 pixels, got {self.side}")
        if any(not 1 <= q <= 100 for q in self.qualities):
            raise ValueError(f"JPEG qualities must be in 1..100, got {self.qualities}")
        if self.blur < 0 or self.noise < 0 or self.gamma <= 0:
            raise ValueError(f"blur and noise must not be negative, gamma positive, got {self}")

    @classmethod
    def draw(cls, rng: Rng, sides: tuple[int, int] = (96, 224)) -> Treatment:
        """Random numbers over the range that clips on the web show."""
        kinds = rng.random(6)
        passes = 0 if kinds[0] < 0.15 else int(rng.integers(1, 3))
        return cls(
            side=round(float(np.exp(rng.uniform(np.log(sides[0]), np.log(sides[1]))))),
            blur=float(rng.uniform(0.2, 1.2)) if kinds[1] < 0.3 else 0.0,
            noise=float(rng.uniform(0.5, 5.0)) if kinds[2] < 0.3 else 0.0,
            qualities=tuple(int(q) for q in rng.integers(35, 96, passes)),
            gain=tuple(float(g) for g in rng.uniform(0.92, 1.08, 3)) if kinds[3] < 0.5 else (1.0, 1.0, 1.0),  # type: ignore[arg-type]
            gamma=float(np.exp(rng.uniform(-0.25, 0.25))) if kinds[4] < 0.5 else 1.0,
            kernels=(int(rng.choice(KERNELS[1:])), int(rng.choice(KERNELS[1:]))),
            grain_seed=int(rng.integers(1 << 31)),
        )

    def apply(self, image: UInt8Array, size: int) -> UInt8Array:
        """The treated (size, size, 3) picture of a square (S, S, 3) one."""
        out = _resize(image, self.side, self.side, cv2.INTER_AREA if self.side < image.shape[0] else self.kernels[0])
        values = out.astype(np.float32)
        if self.gamma != 1.0 or self.gain != (1.0, 1.0, 1.0):
            curved = 255 * (values / 255) ** np.float32(self.gamma) * np.array(self.gain, np.float32)
            values = np.asarray(curved, np.float32)
        if self.blur:
            values = np.asarray(cv2.GaussianBlur(values, (0, 0), self.blur), np.float32)
        if self.noise:
            grain = np.random.default_rng(self.grain_seed).normal(0, self.noise, values.shape)
            values = values + grain.astype(np.float32)
        out = _image(values)
        for quality in self.qualities:
            out = jpeg(out, quality)
        return (
            out
            if self.side == size
            else _resize(out, size, size, cv2.INTER_AREA if size < self.side else self.kernels[1])
        )


def jpeg(image: UInt8Array, quality: int) -> UInt8Array:
    """The picture after one real JPEG pass."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"cannot encode a picture of shape {image.shape}")
    return np.asarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1], np.uint8)
