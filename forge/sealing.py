"""From frames to a signed file. Nothing generated ever stands under its name unsigned.

    sealed = film_and_sign(frames, sound, Path("ada.mp4"), claim, shot=Shot(), crf=18)

Real clips of a dataset leave by the same function: same encoder, same settings, same signature.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forge.methods import Shot
from forge.portrait import Declaration, ForgeError, sha256_of
from media.clip import MediaError, Waveform
from provenance.claims import Claim, SourceType

if TYPE_CHECKING:
    from provenance.credential import Credential
    from provenance.identity import SigningIdentity
    from provenance.store import CredentialStore

UInt8Array = NDArray[np.uint8]
TOOL = "countermark forge"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sealed:
    """A written and signed clip."""

    frames: int
    unsigned_sha256: str
    """Digest of the file before it was signed: the same for the same inputs, whoever signs and when."""
    credential: Credential


def film_and_sign(
    frames: Iterable[UInt8Array],
    sound: Waveform | None,
    out: Path,
    claim: Claim | Callable[[], Claim],
    *,
    shot: Shot,
    crf: int,
    preset: str = "medium",
    notify: Callable[[str], None] | None = None,
    identity: SigningIdentity | None = None,
    store: CredentialStore | None = None,
    durable: bool = True,
    heard: Callable[[], Waveform] | None = None,
) -> Sealed:
    """Encode frames as they come, sign the file, and only then give it its name.

    Every clip, real ones of a dataset too, carries an invisible mark and its prints, by which its credential is found
    again when a platform has stripped it: a detector cannot learn the mark, since both classes have it.

    Args:
        frames: (size, size, 3) uint8 RGB.
        sound: what is heard; None for a silent clip.
        out: the mp4; replaced when it exists.
        claim: what its credential says; a function is asked after the last frame.
        shot: size and frame rate.
        crf: x264 quality.
        preset: x264 effort.
        notify: gets one line when a development identity had to be made to sign with.
        identity: who signs; None takes this user's development identity.
        store: where the credential is kept for finding it again; None takes this user's.
        durable: False leaves out mark, prints and store.
        heard: for a live clip, whose `sound` is filled while frames come: asked after the last one, what there was.

    Raises:
        ForgeError: when it cannot be written or signed; then nothing is left behind.
    """
    from media.video import ClipWriter
    from provenance.durable import DurableMaker
    from provenance.errors import ProvenanceError
    from provenance.signing import sign_file
    from provenance.store import CredentialStore

    samples, rate = (sound.samples, sound.sample_rate_hz) if sound is not None else (None, 0)
    if samples is not None and heard is not None:
        samples = samples[:rate]  # the mark needs its name after the first second
    maker = DurableMaker(fps=float(shot.fps), sound=samples, sample_rate_hz=rate)
    unsigned = out.with_name(f".{_hidden_stem(out)}.{secrets.token_hex(4)}.unsigned.mp4")
    try:
        with ClipWriter(unsigned, shot.fps, shot.size, shot.size, sound, crf=crf, preset=preset) as writer:
            count = 0
            for image in maker.marked(frames) if durable else frames:
                writer.add(image)
                count += 1
        if heard is not None:
            maker.hear(heard().samples)
        digest = sha256_of(unsigned)
        said = claim() if callable(claim) else claim
        if not durable:
            return Sealed(count, digest, sign_file(unsigned, out, said, identity=identity, notify=notify))
        keep = maker.keeper(store or CredentialStore.of_this_user(), notify or _LOG.warning)
        signed = sign_file(unsigned, out, maker.bound(said), identity=identity, notify=notify, keep=keep)
        return Sealed(count, digest, signed)
    except (MediaError, ProvenanceError) as error:
        raise ForgeError(str(error).replace(str(unsigned), str(out))) from error
    except OSError as error:
        raise ForgeError(
            f"{out}: cannot be written ({error.strerror or error}); check space and permissions"
        ) from error
    finally:
        unsigned.unlink(missing_ok=True)


@contextmanager
def swept(out: Path) -> Iterator[None]:
    """Hold the folder of a clip to be made, after removing the unsigned remains of killed runs for the same clip.

    The lock goes with its process, however that ends. Remains are left alone while another run works in the folder, and
    where the file system knows no such locks.
    """
    remains = re.compile(rf"\.{{1,2}}{re.escape(_hidden_stem(out))}\.[0-9a-f]{{8}}\.unsigned\.mp4(\.[0-9a-f]+\.part)?")
    with ExitStack() as held:
        with suppress(OSError):
            handle = os.open(out.parent, os.O_RDONLY)
            held.callback(os.close, handle)
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for path in out.parent.iterdir():
                    if remains.fullmatch(path.name):
                        path.unlink()
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield


def _hidden_stem(out: Path) -> str:
    """The beginning of a clip's name: with all that is added to it, a name must stay below 256 bytes."""
    return out.stem[:40]


def synthetic_source_type(declaration: Declaration) -> SourceType:
    """What the credential says the pixels are: wholly made, or a real person's photo put in motion."""
    if declaration.shows_nobody:
        return SourceType.TRAINED_ALGORITHMIC_MEDIA
    return SourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA


def check_target(out: Path, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Refuse a file to write before any work is spent on it.

    Raises:
        ForgeError: not an mp4, no such folder, not writable, exists already, or one of the inputs.
    """
    if out.suffix.lower() != ".mp4":
        raise ForgeError(f"{out}: the clip is an mp4 file; give a name that ends in .mp4")
    if not out.parent.is_dir():
        raise ForgeError(f"{out}: the folder {out.parent} does not exist; make it first")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise ForgeError(f"{out}: the folder {out.parent} is not writable; choose another one")
    try:
        is_there = out.exists()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ForgeError(f"{out.name[:40]} ...: cannot be written ({why}); choose another name") from error
    if out.is_dir():
        raise ForgeError(f"{out}: a folder; give the name of a file")
    if is_there and any(path.exists() and out.samefile(path) for path in inputs):
        raise ForgeError(f"{out}: is one of the inputs; choose another name")
    if is_there and not overwrite:
        raise ForgeError(f"{out}: exists already; choose another name or say --overwrite")
