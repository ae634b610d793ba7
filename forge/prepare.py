"""A user's own folder of talking videos becomes aligned training clips: `countermark forge prepare`. START HERE.

    prepared = prepare(Path("VoxCeleb2/dev/mp4"), Path("clips"), consent="speakers agreed ...", license="CC BY 4.0")
    prepared.kept, prepared.refused
    clip = load_shard(Path("clips/clips/0f3a....frames.npz"))

What happens to each video, by number:
    1. its own credentials are read: one that says that it is synthetic, or was changed after signing, is refused
    2. all faces are followed (`media.faces`); tracks end at shot cuts
    3. each track is cut into clips and judged (`prepare_cuts`); a refused one is listed with its reason
    4. frames of a kept one are cropped by one unmoving square, measured, and stored as one training shard
    5. a line is added to `status.jsonl`; that makes the video done, and a run that was killed goes on after it

A shard (`forge.shard`) is no clip that could be played or passed on: real footage is re-encoded as a file only through
`forge.sealing`, which signs it. Nobody is prepared without a statement of consent and a licence; both stand in every
shard and in the catalog.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from forge.framing import cut as cut_square
from forge.material import VIDEO_SUFFIXES
from forge.portrait import Declaration, ForgeError, check_regular, read_table, sha256_of
from forge.prepare_cuts import Cut, Sieve, cuts_of, filled
from forge.shard import Shard, save_shard
from media.catalog import Catalog, Label, Sample
from media.clip import MediaError
from media.faces import FaceFinder, FaceTrack, follow_faces, head_angles

if TYPE_CHECKING:
    from media.video import VideoFacts

FloatArray = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

STATUS = "status.jsonl"
FOLDER = "clips"
TABLES = ("clips.csv", "real.csv")
SOUND_HZ = 16_000
VALIDATION_SHARE = 0.05
"""Of the people, by a digest of their name: it never changes when the folder grows."""


@dataclass(frozen=True)
class Video:
    """One file of the folder and what is known of it."""

    path: Path
    person: str
    source: str
    consent: str
    license: str
    split: str | None = None


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did."""

    out: Path
    videos: int
    kept: int
    """Clips."""
    refused: Mapping[str, int]
    """How many clips or videos for each kind of reason."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The facts for a machine: plain JSON values."""
        return {
            "out": str(self.out), "videos": self.videos, "kept": self.kept, "refused": dict(self.refused),
            "seconds": round(self.seconds, 2),
        }  # fmt: skip


def prepare(
    folder: Path,
    out: Path,
    *,
    consent: str | None = None,
    license: str | None = None,
    sieve: Sieve | None = None,
    limit: int | None = None,
    on_video: Callable[[int, int, Mapping[str, Any]], None] = lambda done, planned, row: None,
) -> Prepared:
    """Prepare every video of a folder that is not prepared yet.

    Args:
        folder: videos, in folders by person and source if there are any (VoxCeleb2), or flat (HDTF, CelebV-HQ), or
            with a `clips.csv` (columns file, person, source, license, consent, split).
        out: made when missing; a former run into it goes on.
        consent: who agreed, when and to what; for all videos whose row of the table does not say it.
        license: of the recordings; likewise.
        sieve: what a clip must be like.
        limit: stop after so many videos.
        on_video: told (videos done, videos planned, status row) after each.

    Raises:
        ForgeError: in one line: nothing to use, consent or licence missing, an output of other settings.
    """
    sieve = sieve or Sieve()
    videos = list_videos(folder, consent, license)
    settings = _open(out, sieve)
    done = {row["sha256"]: row for row in read_status(out)}
    planned = videos if limit is None else videos[:limit]
    with FaceFinder() as finder:
        for count, video in enumerate(planned, 1):
            digest = sha256_of(video.path)
            row = done.get(digest)
            if row is None:
                row = one_video(video, digest, out, sieve, settings, finder)
                _add_status(out, row)
                done[digest] = row
            on_video(count, len(planned), row)
    return _finish(out, list(done.values()))


def list_videos(folder: Path, consent: str | None, license: str | None) -> list[Video]:
    """The videos of a folder in order of name, each with a person, a source, consent and a licence.

    Raises:
        ForgeError: for a missing or empty folder, a broken table, or a video without consent or licence.
    """
    if not folder.is_dir():
        raise ForgeError(f"{folder}: not a folder; give the folder of the videos")
    table = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if table is None:
        paths = sorted(
            p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and not p.name.startswith(".")
        )
        rows: list[dict[str, str]] = [{"file": str(path.relative_to(folder))} for path in paths]
    else:
        rows = [row for row in read_table(table) if row.get("label", "real").lower() == "real"]
    if not rows:
        raise ForgeError(
            f"{folder}: no videos in it; files ending in {', '.join(VIDEO_SUFFIXES[:4])} ... are looked for"
        )
    videos = []
    for row in rows:
        path = folder / row["file"]
        check_regular(path, "one video file")
        said, licensed = row.get("consent") or consent, row.get("license") or license
        if not said or not licensed:
            what = "consent" if not said else "license"
            raise ForgeError(f"{path}: no {what} stated; say --{what} for all, or fill that column of {TABLES[0]}")
        agreed = Declaration.consent(said, licensed)  # the same rules as for a portrait
        person, source = named_by_path(Path(row["file"]))
        videos.append(
            Video(path, row.get("person") or person, row.get("source") or row.get("group") or source,
                  agreed.statement, agreed.license, row.get("split") or None)
        )  # fmt: skip
    return videos


def named_by_path(path: Path) -> tuple[str, str]:
    """Person and source recording of a file, as far as its place tells: the same name must mean the same.

    `id00012/21Uxsk56VDQ/00001.mp4` is person id00012, source id00012/21Uxsk56VDQ; `RD_Radio1_000.mp4` and
    `RD_Radio1_001.mp4` are two parts of RD_Radio1, and nobody says who that is: then the source stands for the person.
    """
    folders = path.parts[:-1]
    head, _, tail = path.stem.rpartition("_")
    stem = head if head and tail.isdigit() else path.stem
    if len(folders) >= 2:
        return folders[-2], "/".join(folders[-2:])
    if folders:
        return folders[0], f"{folders[0]}/{stem}"
    return stem, stem


def one_video(video: Video, digest: str, out: Path, sieve: Sieve, settings: str, finder: FaceFinder) -> dict[str, Any]:
    """Prepare one video; its status row. A fault of the file is an answer: one bad file must not end a run."""
    from media.video import probe

    row: dict[str, Any] = {
        "file": video.path.name, "sha256": digest, "person": video.person, "source": video.source, "clips": [],
        "refused": [],
    }  # fmt: skip
    try:
        check_recorded(video.path)
        facts = probe(video.path)
        tracks = sorted(
            follow_faces(_frames(video.path, sieve), finder, min_frames=5), key=lambda track: -track.visibility
        )
        if not tracks:
            row["refused"].append({"kind": "video", "reason": "no face found"})
        for number, track in enumerate(tracks):
            others = tracks[:number] + tracks[number + 1 :]
            for cut in cuts_of(track, others, facts.width, facts.height, sieve):
                answer = shoot(video, cut, track, digest, out, sieve, facts) if not cut.reason else cut.reason
                seconds = round(float(cut.length / sieve.fps), 2)
                if isinstance(answer, str):
                    start = round(float(cut.first / sieve.fps), 2)
                    row["refused"].append({"kind": "clip", "start": start, "seconds": seconds, "reason": answer})
                else:
                    row["clips"].append(answer)
    except (ForgeError, MediaError) as error:
        row["refused"].append({"kind": "video", "reason": str(error)})
    return row | {"settings": settings}


def check_recorded(path: Path) -> None:
    """Refuse a video that says itself that it is synthetic, or that was changed after it was signed.

    Raises:
        ForgeError: saying which.
    """
    from provenance.credential import Standing, read_credential

    credential = read_credential(path)
    if credential.standing is Standing.BROKEN:
        raise ForgeError(f"{path.name}: its credentials are broken: it was changed after it was signed")
    if credential.declares_synthetic:
        raise ForgeError(f"{path.name}: its own credentials say that it is synthetic")


def shoot(
    video: Video, cut: Cut, track: FaceTrack, digest: str, out: Path, sieve: Sieve, facts: VideoFacts
) -> dict[str, Any] | str:
    """Store one clip as a training shard: its line for the status; or the reason why it was refused after all."""
    assert cut.square is not None
    square, scale = cut.square, sieve.size / cut.square.side
    frames = list(_cropped(video.path, cut, sieve))
    if len(frames) < cut.length:
        return f"the video ended early: {len(frames)} of {cut.length} frames"
    points = filled(track.frame_indices[cut.rows], track.landmarks[cut.rows], cut.first, cut.length)
    # pixel centres: (0, 0) is the centre of the first pixel, before and after the crop
    points *= np.float32(scale)
    points[..., :2] += np.float32((scale - 1) / 2) - np.float32(scale) * np.array([square.left, square.top], np.float32)
    shapes = filled(track.frame_indices[cut.rows], track.blendshapes[cut.rows], cut.first, cut.length)
    sharp = float(np.median([sharpness(f, p) for f, p in zip(frames[::5], points[::5], strict=True)]))
    if sharp < sieve.least_sharpness:
        return f"blurred: sharpness {sharp:.0f}, {sieve.least_sharpness:g} is needed"
    frontal = int(np.argmin([np.abs(head_angles(pose)[:2]).sum() for pose in track.poses[cut.rows]]))
    reference = int(track.frame_indices[cut.rows][frontal]) - cut.first
    name = f"{digest[:12]}_{cut.first:06d}_{track.frame_indices[0]:06d}"
    path = out / FOLDER / f"{name}.frames.npz"
    said = {
        "file": video.path.name, "sha256": digest, "person": video.person, "source": video.source,
        "consent": video.consent, "license": video.license, "label": "real", "first": cut.first,
        "fps": f"{sieve.fps.numerator}/{sieve.fps.denominator}", "square": [square.left, square.top, square.side],
        "reference": reference, "sharpness": round(sharp, 1), "source_size": [facts.width, facts.height],
    }  # fmt: skip
    sound = _sound(video.path, cut, sieve, facts)
    save_shard(path, Shard(np.stack(frames), points, shapes, motions(points, shapes, reference), sound, said))
    return {
        "id": name, "path": f"{FOLDER}/{path.name}", "sha256": sha256_of(path), "frames": cut.length,
        "seconds": float(cut.length / sieve.fps), "split": video.split or split_of(video.person),
        "license": video.license, "consent": video.consent, "sharpness": round(sharp, 1),
    }  # fmt: skip


def motions(points: FloatArray, shapes: FloatArray, reference: int) -> FloatArray:
    """(T, 70) what the face does in every frame, its pose relative to the reference frame."""
    from forge.face.student_motion import motion_between

    return np.stack([motion_between(points[reference], p, s) for p, s in zip(points, shapes, strict=True)])


def sharpness(frame: UInt8Array, points: FloatArray) -> float:
    """Variance of the Laplacian of the face at 128 pixels."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    x0, y0 = np.clip(np.floor(low), 0, frame.shape[0] - 2).astype(int)
    x1, y1 = np.clip(np.ceil(high), 2, frame.shape[0]).astype(int)
    face = cv2.cvtColor(np.ascontiguousarray(frame[y0 : max(y1, y0 + 2), x0 : max(x1, x0 + 2)]), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(cv2.resize(face, (128, 128), interpolation=cv2.INTER_AREA), cv2.CV_32F).var())


def split_of(person: str) -> str:
    """The part of the dataset that a person belongs to, from a digest of the name."""
    share = int(sha256(person.encode()).hexdigest()[:8], 16) / 2**32
    return "val" if share < VALIDATION_SHARE else "train"


def read_status(out: Path) -> Iterator[dict[str, Any]]:
    """The rows of videos that are done; a line that a killed run left unfinished is passed over."""
    path = out / STATUS
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        # a shard that was deleted or never reached the disk is made again
        if all((out / clip["path"]).is_file() for clip in row["clips"]):
            yield row


def _add_status(out: Path, row: Mapping[str, Any]) -> None:
    path = out / STATUS
    with path.open("a+b") as file:
        whole = file.seek(0, os.SEEK_END) == 0
        if not whole:
            file.seek(-1, os.SEEK_END)
            whole = file.read(1) == b"\n"
        file.write((b"" if whole else b"\n") + json.dumps(dict(row), sort_keys=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _open(out: Path, sieve: Sieve) -> str:
    """Make the output folder, or check that it was made with the same settings; their digest."""
    text = json.dumps(sieve.to_json(), sort_keys=True)
    settings, path = sha256(text.encode()).hexdigest()[:12], out / "sieve.json"
    try:
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
        for remains in (out / FOLDER).glob(".*.part"):
            remains.unlink()
        if not path.exists():
            part = path.with_suffix(".part")
            part.write_text(text + "\n", encoding="utf-8")
            part.replace(path)
        elif path.read_text(encoding="utf-8").strip() != text:
            raise ForgeError(f"{out}: was prepared with other settings; give another folder, or the settings of {path}")
    except OSError as error:
        raise ForgeError(f"{out}: cannot be written ({error.strerror or error}); choose another folder") from error
    return settings


def _finish(out: Path, rows: Sequence[Mapping[str, Any]]) -> Prepared:
    samples = [
        Sample(
            id=clip["id"], path=clip["path"], label=Label.REAL, sha256=clip["sha256"], person=row["person"],
            source=row["source"], split=clip["split"], codec="jpeg frames", seconds=clip["seconds"],
            license=clip["license"], consent=clip["consent"], extra={"frames": clip["frames"], "video": row["sha256"]},
        )
        for row in sorted(rows, key=lambda r: (r["person"], r["source"], r["file"]))
        for clip in row["clips"]
    ]  # fmt: skip
    try:
        Catalog(samples, name="prepared").save(out)
    except (ValueError, MediaError) as error:
        raise ForgeError(f"{out}: {error}") from error
    reasons = Counter(refusal["reason"].split(":")[0] for row in rows for refusal in row["refused"])
    return Prepared(out, len(rows), len(samples), reasons, sum(sample.seconds or 0.0 for sample in samples))


def _frames(path: Path, sieve: Sieve) -> Iterator[Any]:
    from media.video import stream_frames

    return stream_frames(path, fps=sieve.fps)


def _cropped(path: Path, cut: Cut, sieve: Sieve) -> Iterator[UInt8Array]:
    assert cut.square is not None
    for frame in _frames(path, sieve):
        if frame.index >= cut.first + cut.length:
            return
        if frame.index >= cut.first:
            yield cut_square(frame.image, cut.square, sieve.size)


def _sound(path: Path, cut: Cut, sieve: Sieve, facts: VideoFacts) -> FloatArray:
    """(N,) the sound of a cut at 16 kHz, one channel; empty for a silent video."""
    from media.video import read_waveform

    if not facts.has_sound:
        return np.zeros(0, np.float32)
    sound = read_waveform(path).resampled(SOUND_HZ).samples.mean(axis=1)
    start, length = (round(float(n / sieve.fps) * SOUND_HZ) for n in (cut.first, cut.length))
    piece = sound[start : start + length]
    return np.pad(piece, (0, length - len(piece))).astype(np.float32)
