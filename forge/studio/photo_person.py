"""A person made from one portrait, and how it is kept on disk.

    save_person(Path("people/p007.npz"), person)
    person = load_person(Path("people/p007.npz"))

Axes: V the head's vertices, W vertices of the relief (hair, ears, neck, clothes), T triangles, A side of the face's
texture, C side of the canvas. Head space, centimetres; pictures are sRGB bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from forge.portrait import ForgeError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
UInt8Array = NDArray[np.uint8]

FORMAT = 1
HELD_OUT = 1_000_000
"""People with seeds from here on are kept for evaluation."""
LABEL = "synthetic"
"""Whatever the pictures were: what the studio draws from them never happened."""


@dataclass(frozen=True, eq=False)
class PhotoPerson:
    """Shape, surface and surroundings of one person in one portrait."""

    name: str
    seed: int
    """Number of the person; from 1,000,000 on the person is held out."""
    identity_K: Floats
    residual_V3: Floats
    """Displacement on top of the identity modes."""
    lid_2V3: Floats
    """Further displacement per unit of the right and of the left blink."""
    pose_3: Floats
    """Yaw, pitch, roll of the head in the portrait, degrees."""
    dyn_64: Floats
    """Expression and gaze in the portrait, rig units."""
    distance: float
    """Centimetres from the camera to the head's pivot."""
    skin_3AA: UInt8Array
    """The face's texture: sRGB, the light mostly taken out."""
    light_93: Floats
    """The portrait's light, see `photo_light`."""
    iris: tuple[float, float, float]
    """Linear colour of the iris."""
    eye_exposure: float
    """How bright a white of the eye is in this picture, over that of the studio's."""
    mouth_exposure: float
    """The same for teeth, which light reaches that the brows keep from the eyes."""
    relief_W3: Floats
    """Head space, as the head was turned in the portrait."""
    relief_normal_W3: Floats
    relief_uv_W2: Floats
    relief_triangles_T3: Ints
    relief_part_T: UInt8Array
    picture_4CC: UInt8Array
    """The relief's colours and alpha."""
    front_1CC: UInt8Array
    """255 where the relief may lie over the head's own mesh, 0 where it is only seen beside it."""
    backdrop_3CC: UInt8Array
    """What is behind the person."""
    licence: str
    parents: tuple[str, ...]
    """Whom the person was made from: the digest of a portrait, or names of other people."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values: age, gender and so on as the table said, and how well the fit went."""

    def __post_init__(self) -> None:
        """Refuse what does not belong together, and a person without a licence."""
        if not self.licence.strip():
            raise ForgeError(f"{self.name}: no licence; a person is only made from a portrait whose licence is known")
        if not self.parents:
            raise ValueError(f"{self.name}: parents must name where the person comes from")
        if self.relief_normal_W3.shape != self.relief_W3.shape or len(self.relief_uv_W2) != len(self.relief_W3):
            raise ValueError(
                f"relief normals and uv must fit {self.relief_W3.shape}, got {self.relief_normal_W3.shape}"
            )
        if self.lid_2V3.shape != (2, *self.residual_V3.shape):
            raise ValueError(f"lid must be (2, {len(self.residual_V3)}, 3), got {self.lid_2V3.shape}")
        for name, channels in (("skin_3AA", 3), ("picture_4CC", 4), ("front_1CC", 1), ("backdrop_3CC", 3)):
            value = getattr(self, name)
            if value.dtype != np.uint8 or value.ndim != 3 or value.shape[0] != channels:
                raise ValueError(f"{name} must be ({channels}, side, side) uint8, got {value.shape} {value.dtype}")

    @property
    def kind(self) -> str:
        """What sort of person the studio has before it."""
        return "photo"


_SMALL = ("identity_K", "pose_3", "dyn_64", "light_93")
_PACKED = ("residual_V3", "lid_2V3", "relief_W3", "relief_normal_W3", "relief_uv_W2")
_PICTURES = {"skin_3AA": 95, "picture_4CC": 95, "front_1CC": 95, "backdrop_3CC": 88}


HELD_OUT_MARK = "_held_out"
"""At the end of the file's name, so that nobody need open it to know."""


def file_name(name: str, seed: int) -> str:
    """Of a person on disk."""
    return f"{name}{HELD_OUT_MARK if seed >= HELD_OUT else ''}.npz"


def save_person(path: Path, person: PhotoPerson) -> None:
    """Write a person: all of it or nothing. About 400 KB."""
    arrays: dict[str, NDArray[Any]] = {name: getattr(person, name) for name in _SMALL}
    for name in _PACKED:
        # a thousandth of a centimetre is beyond any fit, and small integers compress
        arrays[name] = np.round(getattr(person, name) * 1000).clip(-32767, 32767).astype(np.int16)
    arrays["relief_uv_W2"] = np.round(person.relief_uv_W2 * 60000).astype(np.uint16)
    arrays["relief_triangles_T3"] = person.relief_triangles_T3.astype(np.int32)
    arrays["relief_part_T"] = person.relief_part_T
    for name, quality in _PICTURES.items():
        arrays[name] = np.frombuffer(_webp(getattr(person, name), quality), np.uint8)
    facts = {
        "format": FORMAT, "name": person.name, "seed": person.seed, "distance": person.distance,
        "iris": list(person.iris), "eye_exposure": person.eye_exposure, "mouth_exposure": person.mouth_exposure,
        "licence": person.licence, "label": LABEL,
        "parents": list(person.parents), "facts": dict(person.facts),
    }  # fmt: skip
    arrays["person"] = np.frombuffer(json.dumps(facts, sort_keys=True).encode(), np.uint8)
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def load_person(path: Path) -> PhotoPerson:
    """Read a person.

    Raises:
        ForgeError: when the file is missing, of another format or no person.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
            facts = json.loads(bytes(data["person"]).decode())
            if facts["format"] != FORMAT:
                raise ForgeError(
                    f"{path}: format {facts['format']}, this version reads {FORMAT}; fit the portrait again"
                )
            values: dict[str, Any] = {name: data[name].astype(np.float32) for name in _SMALL}
            values |= {name: data[name].astype(np.float32) / 1000 for name in _PACKED}
            values["relief_uv_W2"] = data["relief_uv_W2"].astype(np.float32) / 60000
            values["relief_triangles_T3"] = data["relief_triangles_T3"].astype(np.int64)
            values["relief_part_T"] = data["relief_part_T"]
            values |= {name: _picture(data[name].tobytes(), int(name.split("_")[1][0])) for name in _PICTURES}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ForgeError(f"{path}: not a person ({error}); fit the portrait again") from error
    return PhotoPerson(
        name=facts["name"], seed=int(facts["seed"]), distance=float(facts["distance"]), iris=tuple(facts["iris"]),
        eye_exposure=float(facts["eye_exposure"]), mouth_exposure=float(facts["mouth_exposure"]),
        licence=facts["licence"], parents=tuple(facts["parents"]),
        facts=facts["facts"], **values,
    )  # fmt: skip


def _webp(picture: UInt8Array, quality: int) -> bytes:
    out = io.BytesIO()
    pixels = np.ascontiguousarray(picture.transpose(1, 2, 0))
    Image.fromarray(pixels if len(picture) > 1 else pixels[..., 0]).save(out, "WEBP", quality=quality, exact=True)
    return out.getvalue()


def _picture(data: bytes, channels: int) -> UInt8Array:
    with Image.open(io.BytesIO(data)) as picture:
        pixels = np.asarray(picture.convert("RGBA" if channels == 4 else "RGB"), np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[:channels])
