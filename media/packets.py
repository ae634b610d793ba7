"""How a video was encoded, as its container tells it: nothing is decoded.

    facts = packet_facts(path)
    facts.profile, facts.sizes.mean(), facts.keyframe_gap

Pictures are `media.decode`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from media.libav import opened, packets_from_start, picture_stream

MAX_PACKETS = 100_000
"""An hour at 25 frames a second has 90,000; what a longer file has after that does not change the picture."""


@dataclass(frozen=True, eq=False)
class PacketFacts:
    """The encoded pictures of one file and what stands about them in its headers. P packets."""

    sizes: NDArray[np.int64]
    """(P,) bytes of each encoded picture, in the order of the file."""
    is_key: NDArray[np.bool_]
    """(P,) pictures that can be decoded by themselves."""
    profile: str
    """Of the codec, "High" for instance; empty where the container does not tell."""
    reordered: bool
    """Whether pictures are stored in another order than they are shown: there are B-frames."""
    color_tags: str
    """Range, primaries, transfer and matrix as numbers of ITU-T H.273, "1/1/1/1"; 2 is "not told"."""
    clock: str
    """Ticks of a second in which the container counts."""
    tags: str
    """Names of the container's metadata entries, sorted."""
    writer: str
    """What the container calls the software that wrote it."""

    def __post_init__(self) -> None:
        """Refuse no packets and arrays that do not belong together."""
        if len(self.sizes) < 1 or self.sizes.shape != self.is_key.shape:
            raise ValueError(
                f"sizes and is_key must be (P,) with P >= 1, got {self.sizes.shape} and {self.is_key.shape}"
            )

    @property
    def keyframe_gap(self) -> float:
        """Median pictures from one keyframe to the next; all of them where there is only one."""
        at = np.flatnonzero(self.is_key)
        return float(np.median(np.diff(at))) if len(at) > 1 else float(len(self.is_key))


def packet_facts(path: Path) -> PacketFacts:
    """Read the headers and the list of packets of a video.

    Raises:
        MediaError: no video, damaged, or cut short.
    """
    with opened(path) as container:
        stream = picture_stream(container, path)
        context = stream.codec_context
        sizes: list[int] = []
        keys: list[bool] = []
        times: list[int] = []
        for packet in packets_from_start(container, stream):
            sizes.append(packet.size)
            keys.append(packet.is_keyframe)
            times.append(packet.pts if packet.pts is not None else len(times))
            if len(sizes) == MAX_PACKETS:
                break
        tags = (context.color_range, context.color_primaries, context.color_trc, context.colorspace)
        return PacketFacts(
            sizes=np.array(sizes, np.int64),
            is_key=np.array(keys, bool),
            profile=str(stream.profile or ""),
            reordered=times != sorted(times),
            color_tags="/".join(str(int(tag)) for tag in tags),
            clock=str(stream.time_base or ""),
            tags=",".join(sorted(container.metadata)),
            writer=str(container.metadata.get("encoder", "")),
        )
