"""Video, sound and picture files: the only door to PyAV, so a libav surprise can have one cause.

Behind it: `libav.py` opens and decodes, `decode.py` reads pictures, `sound.py` sound, `encode.py` writes.

    facts = probe(path)                                  # looks, decodes one frame
    for frame in stream_frames(path, max_side=720): ...  # one pass, memory of a few frames
    clip = read_clip(path, max_frames=300)               # refuses what would not fit
    write_clip(clip, path)                               # H.264 + AAC mp4, same clip -> same bytes

Rules of this door, told once:

1. Time zero is the moment of the first picture, for pictures and for the sound of the same file.
2. A picture is upright and has square pixels: display matrix and sample aspect ratio are applied.
3. Colour matrix and range are those the file names; where it names none, BT.709 from 720 lines up and
   BT.601 below, as players do. High dynamic range is reduced to 8 bits without tone mapping.
4. A fault is a `MediaError` of one line. A few undecodable packets are skipped, as players do.
5. A written file appears whole under its name, or not at all.
"""

from media.decode import Frame, VideoFacts, probe, read_clip, read_image, stream_frames
from media.encode import ClipWriter, Encoding, has_encoder, recompressed, write_clip
from media.libav import MAX_PICTURE_PIXELS, MAX_SIDE_PIXELS
from media.sound import MAX_CLIP_BYTES, read_waveform

__all__ = [
    "MAX_CLIP_BYTES",
    "MAX_PICTURE_PIXELS",
    "MAX_SIDE_PIXELS",
    "ClipWriter",
    "Encoding",
    "Frame",
    "VideoFacts",
    "has_encoder",
    "probe",
    "read_clip",
    "read_image",
    "read_waveform",
    "recompressed",
    "stream_frames",
    "write_clip",
]
