"""The layouts that are known, and which one a folder has."""

from __future__ import annotations

from pathlib import Path

from detect.corpora import (
    avdeepfake,
    celebdf,
    deeperforensics,
    dfdc,
    faceforensics,
    fakeavceleb,
    hub,
    recordings,
    talkingheads,
    wild,
)
from detect.corpora.entry import Layout
from detect.corpora.on_disk import folders_in
from detect.detector import DetectError

LAYOUTS: tuple[Layout, ...] = (
    faceforensics.LAYOUT,
    *celebdf.LAYOUTS,
    *dfdc.LAYOUTS,
    deeperforensics.LAYOUT,
    fakeavceleb.LAYOUT,
    *wild.LAYOUTS,
    avdeepfake.LAYOUT,
    *talkingheads.LAYOUTS,
    *recordings.LAYOUTS,
    *hub.LAYOUTS,
)


def layout_named(name: str) -> Layout:
    """The layout of a name.

    Raises:
        DetectError: for an unknown name.
    """
    for layout in LAYOUTS:
        if layout.name == name:
            return layout
    raise DetectError(f"no layout {name!r}; known are {', '.join(one.name for one in LAYOUTS)}")


def recognised(folder: Path) -> Layout | None:
    """The layout of a folder; None where it has none of these.

    Raises:
        DetectError: when it has two.
    """
    found = [layout for layout in LAYOUTS if layout.recognise(folder)]
    if len(found) > 1:
        # such as DeeperForensics and FaceForensics++, which it takes its real clips from, in one folder
        names = " and ".join(layout.name for layout in found)
        raise DetectError(f"{folder}: looks like {names}; say which with --layout")
    return found[0] if found else None


def recognised_inside(folder: Path) -> tuple[Path, Layout] | None:
    """The first folder in a folder that has a known layout, for people who named one too high."""
    return next(((one, layout) for one in folders_in(folder) for layout in LAYOUTS if layout.recognise(one)), None)
