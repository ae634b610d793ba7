"""DeeperForensics-1.0: faces of paid actors in the recordings of FaceForensics++.

    manipulated_videos/{end_to_end,end_to_end_level_1..5,...}/000_M101.mp4     <target>_<actor>
    lists/splits/{train,val,test}.txt                                          one name a line

Its real clips are those of FaceForensics++, c23; `source_videos` shows the actors in a studio, and a detector that
takes these for the real ones learns the studio.
"""

from __future__ import annotations

import re
from pathlib import Path

from detect.corpora.entry import Entry, Layout, Reading, Request, lists_in, text_of
from detect.corpora.on_disk import below, clips_in, folders_in
from detect.detector import DetectError
from media.catalog import Label

LISTS = ("train.txt", "val.txt", "test.txt")
_FORGED = re.compile(r"(\d{3})_([A-Z]\d+)")


def recognise(folder: Path) -> bool:
    """Whether there are manipulated_videos."""
    return (folder / "manipulated_videos").is_dir()


def read(folder: Path, request: Request) -> Reading:
    """All versions of the forgeries, and the recordings of FaceForensics++ where they lie in the same folder."""
    splits = _splits(folder, request) if request.published else {}
    reals = {p.stem: p for p in clips_in(folder / "original_sequences" / "youtube" / "c23")}
    entries: list[Entry] = []
    missing: list[str] = []
    strange = 0
    for version in folders_in(folder / "manipulated_videos"):
        seen = set()
        for path in clips_in(version):
            forged = _FORGED.fullmatch(path.stem)
            if forged is None or (splits and path.stem not in splits):
                strange += 1
                continue
            seen.add(path.stem)
            target, actor = f"ff++/{forged[1]}", f"deeperforensics/{forged[2]}"
            real = reals.get(forged[1])
            entries.append(
                Entry(
                    below(path, folder),
                    Label.SYNTHETIC,
                    "DeeperForensics",
                    actor,
                    (target, actor),
                    target,
                    splits.get(path.stem),
                    original=below(real, folder) if real else None,
                    more={"level": version.name},
                )
            )
        missing += [f"{version.name}: {stem}" for stem in splits if seen and stem not in seen]
    sides = {e.source: e.split for e in entries}
    for stem, path in reals.items():
        who = f"ff++/{stem}"
        if who in sides or not splits:
            entries.append(
                Entry(below(path, folder), Label.REAL, "ff++ youtube", who, (), who, sides.get(who), codec="c23")
            )
    remark = "no real clips are here: its real ones are those of FaceForensics++ (youtube, c23); import that as well"
    left_out = {"in no list of the publisher": strange} if strange else {}
    return Reading("deeperforensics", tuple(entries), tuple(missing), left_out, () if reals else (remark,))


def _splits(folder: Path, request: Request) -> dict[str, str]:
    place = lists_in(folder, LISTS, request, "lists/splits")
    if place is None:
        raise DetectError(
            f"{folder}: lists/splits with train.txt, val.txt and test.txt is not there; name its folder with --lists, "
            "or use --split own"
        )
    out: dict[str, str] = {}
    for name in LISTS:
        for line in text_of(place / name).splitlines():
            if line.strip():
                out[Path(line.strip()).stem] = Path(name).stem
    return out


LAYOUT = Layout(
    "deeperforensics",
    "manipulated_videos/<version>/000_M101.mp4, lists/splits/{train,val,test}.txt",
    "https://github.com/EndlessSora/DeeperForensics-1.0",
    "non-commercial",
    "arXiv:2001.03024",
    recognise,
    read,
)
