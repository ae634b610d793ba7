"""Makers that start from a real clip: the real twin itself with its face, mouth or sound forged. START HERE.

    kind = MANIPULATIONS["face_swap"]
    maker = kind.open()
    forgery = maker.forge(scene, Cast(donor=other), rng)         # frames, sound, and the truth about both
    forgery = within(forgery, scene, [(0.4, 0.7)])               # only there, the recording everywhere else

`scene.py` says what a manipulation takes and gives. One maker a file: `self_blended.py`, `face_swap.py`,
`lip_splice.py`, `own_reenactment.py`, `sound_swap.py`, `null_blend.py`; a generator of your own is `forge/foreign.py`.
What they share: `steady.py` (landmarks that do not tremble), `blending.py` (masks, colours, borders), `skin.py` (faces
moved by their mesh), `sounds.py`, `partial.py`.
"""

from forge.manipulations.known import MANIPULATIONS, manipulation_named
from forge.manipulations.partial import within
from forge.manipulations.scene import Cast, Forgery, Manipulation, ManipulationKind, Scene, Segment

__all__ = [
    "MANIPULATIONS",
    "Cast",
    "Forgery",
    "Manipulation",
    "ManipulationKind",
    "Scene",
    "Segment",
    "manipulation_named",
    "within",
]
