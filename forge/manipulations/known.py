"""The manipulations there are, by name. Nothing is loaded before one is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from forge.manipulations.scene import Manipulation, ManipulationKind
from forge.portrait import ForgeError, sha256_of
from media.catalog import Label


def manipulation_named(name: str) -> ManipulationKind:
    """The manipulation of a name.

    Raises:
        ForgeError: for a name that is not in `MANIPULATIONS`.
    """
    if name not in MANIPULATIONS:
        raise ForgeError(f"manipulation must be one of {', '.join(MANIPULATIONS)}, got {name!r}")
    return MANIPULATIONS[name]


def _open(module: str, name: str) -> Manipulation:
    """The maker of a module beside this one."""
    maker: Callable[[], Manipulation] = getattr(import_module(f"forge.manipulations.{module}"), name)
    return maker()


def _version(module: str) -> str:
    """A maker's module and the version of what it does."""
    return f"{module} {import_module(f'forge.manipulations.{module}').VERSION}"


def _fingerprint(module: str, assets: Callable[[], tuple[Path, ...]]) -> str:
    """Digest of a maker's name, the version of what it does, and the files that it reads."""
    parts = [_version(module), *(f"{path.name} {sha256_of(path)}" for path in assets())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _no_files() -> tuple[Path, ...]:
    return ()


def _rig() -> tuple[Path, ...]:
    from forge.mesh.rig import RIG_PATH

    return (RIG_PATH,)


def _rig_and_listener() -> tuple[Path, ...]:
    from forge.motion.sources import LISTENER_WEIGHTS

    return (*_rig(), LISTENER_WEIGHTS)


def _open_reenactment(method: str) -> Manipulation:
    from forge.manipulations.own_reenactment import OwnReenactment
    from forge.methods import method_named

    return OwnReenactment(method, method_named(method).open)


def _reenactment_fingerprint(method: str) -> str:
    from forge.methods import method_named

    parts = [_version("own_reenactment"), method_named(method).fingerprint()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _kind(
    name: str,
    maker: str,
    assets: Callable[[], tuple[Path, ...]] = _no_files,
    *,
    needs_donor: bool = False,
    needs_speech: bool = False,
    forges_picture: bool = True,
    forges_sound: bool = False,
    needs_sound: bool = False,
    label: Label = Label.SYNTHETIC,
) -> ManipulationKind:
    return ManipulationKind(
        name,
        needs_donor,
        needs_speech,
        partial(_open, name, maker),
        partial(_fingerprint, name, assets),
        forges_picture=forges_picture,
        forges_sound=forges_sound,
        label=label,
        needs_sound=needs_sound,
    )


def _reenactment(name: str, method: str) -> ManipulationKind:
    return ManipulationKind(
        name, False, False, partial(_open_reenactment, method), partial(_reenactment_fingerprint, method)
    )


MANIPULATIONS: Mapping[str, ManipulationKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            _kind("self_blended", "SelfBlended"),
            _kind("face_swap", "FaceSwap", _rig, needs_donor=True),
            _kind("lip_splice", "LipSplice", _rig_and_listener, needs_speech=True, forges_sound=True),
            _reenactment("own_reenactment", "mesh"),
            _reenactment("own_reenactment_vasa", "vasa"),
            _kind(
                "sound_swap",
                "SoundSwap",
                needs_speech=True,
                forges_picture=False,
                forges_sound=True,
                needs_sound=True,
            ),
            _kind("null_blend", "NullBlend", label=Label.REAL, forges_picture=False),
        )
    }
)
