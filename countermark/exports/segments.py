"""AV-Deepfake1M: clips by person and recording, and which seconds of picture and sound are synthetic.

    <split>/<person>/<recording>/<clip>/fake_video_real_audio.mp4, <split>_metadata/<the same>.json
    <split>_metadata.json (all of them in one list), test_files.txt

That is what `avdeepfake1m.loader` opens: a json for every clip beside the lists, and no key that it gives itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from countermark.exports.columns import (
    WHATS,
    Stretch,
    What,
    moved,
    stretches_of,
    suffix_of,
    voiced_stretches_of,
)
from countermark.exports.job import ExportError, Job, growing, key_of, line_of, name_of, write_small
from countermark.exports.lines import TRAIN
from countermark.exports.trees import list_of, write_list
from detect.corpora.entry import SPLITS
from media.catalog import CATALOG_NAME, Label, Sample
from media.clip import MediaError
from media.video import probe

KINDS = {
    "real": "real",
    "visual_modified": "fake_video_real_audio",
    "audio_modified": "real_video_fake_audio",
    "both_modified": "fake_video_fake_audio",
}
"""`modify_type` -> name of the film."""
RATE_HZ = 16_000
"""Of the sound, as its samples are counted."""
FILES = "test_files.txt"
"""Names the clips of the test split."""


def write_avdeepfake1m(job: Job) -> None:
    """Clips by person and recording, and for each split a list that tells the synthetic seconds."""
    originals = Originals.of(job)
    with ExitStack() as stack:
        catalog = stack.enter_context(growing(job.build / CATALOG_NAME))
        lists = {split: stack.enter_context(growing(list_of(job, split))) for split in SPLITS}
        tested = stack.enter_context(growing(job.build / FILES))
        for sample in job.lines:
            split = sample.split or TRAIN
            row = segment_row(_measured(job, sample), split, originals.before(sample))
            catalog.write(line_of(moved(job, sample, f"{split}/{row['file']}").to_json()))
            lists[split].write(line_of(row))
            beside = PurePosixPath(f"{split}_metadata/{row['file']}").with_suffix(".json")
            write_small(job.build / beside, json.dumps(row, ensure_ascii=False) + "\n")
            if split == "test":
                tested.write(f"{row['file']}\n")
    # its loader asks for the lists of all splits, whichever there are
    for split in SPLITS:
        with growing(job.build / f"{split}_metadata.json") as file:
            write_list(file, list_of(job, split))
            file.write("\n")


def _measured(job: Job, sample: Sample) -> Sample:
    """The sample with its length, rate and whether it has sound: in lists of seconds nothing can stand for those."""
    if None not in (sample.seconds, sample.fps, sample.has_sound):
        return sample
    try:
        facts = probe(job.root / sample.path)
    except MediaError as error:
        raise ExportError(f"{error}; this form tells the seconds of every clip") from error
    rate = facts.fps.limit_denominator(1_000_000)
    frames = sample.extra.get("frames")
    more = {} if isinstance(frames, int) or facts.length is None else {"frames": facts.length}
    return replace(
        sample,
        seconds=facts.duration_seconds if sample.seconds is None else sample.seconds,
        fps=f"{rate.numerator}/{rate.denominator}" if sample.fps is None else sample.fps,
        has_sound=facts.has_sound if sample.has_sound is None else sample.has_sound,
        extra={**sample.extra, **more},
    )


@dataclass(frozen=True)
class Originals:
    """The real clips that forgeries were made from, as far as the catalog tells."""

    by_id: Mapping[str, str]
    """Id -> path."""
    by_pair: Mapping[tuple[str, str], str]
    """Number of the pair and recording -> path."""

    @classmethod
    def of(cls, job: Job) -> Originals:
        """Of the clips that are exported."""
        by_id: dict[str, str] = {}
        by_pair: dict[tuple[str, str], str] = {}
        for sample in job.lines:
            if sample.label is Label.REAL:
                path = str(segment_row(sample, sample.split or TRAIN)["file"])
                by_id[sample.id] = path
                # the recording itself is the last of its pair; before it there may be null fakes of it
                if (pair := _pair_of(sample)) is not None:
                    by_pair[pair] = path
        return cls(by_id, by_pair)

    def before(self, sample: Sample) -> str | None:
        """What a forgery was made from: the clip its catalog names, or the real one of its pair and recording."""
        if sample.label is Label.REAL:
            return None
        named, pair = sample.extra.get("original"), _pair_of(sample)
        return self.by_id.get(str(named)) or (self.by_pair.get(pair) if pair is not None else None)


def _pair_of(sample: Sample) -> tuple[str, str] | None:
    pair = sample.extra.get("pair")
    return None if pair is None or not sample.source else (str(pair), sample.source)


def segment_row(sample: Sample, split: str, original: str | None = None) -> dict[str, Any]:
    """One clip in the words of AV-Deepfake1M; a forgery without segments is one from beginning to end.

    Args:
        sample: the clip, its length and rate known.
        split: it is in.
        original: path of the real clip it was made from.
    """
    seconds = sample.seconds or 0.0
    stretches = stretches_of(sample) or voiced_stretches_of(sample)
    if sample.label is Label.SYNTHETIC and not stretches:
        stretches = (Stretch(0.0, seconds, _forged(sample)),)
    visual = united((s.start_seconds, s.end_seconds) for s in stretches if s.what in ("picture", "both"))
    audio = united((s.start_seconds, s.end_seconds) for s in stretches if s.what in ("sound", "both"))
    kind = {(False, False): "real", (True, False): "visual_modified", (False, True): "audio_modified"}.get(
        (bool(visual), bool(audio)), "both_modified"
    )
    key = key_of(sample.id)
    person, recording = name_of(sample.person, f"unknown-{key}"), name_of(sample.source, key)
    frames, rate = sample.extra.get("frames"), sample.frame_rate
    return {
        "file": f"{person}/{recording}/{key}/{KINDS[kind]}{suffix_of(sample)}",
        "original": original,
        "split": split,
        "modify_type": kind,
        "audio_model": sample.maker if audio else None,
        "video_model": sample.maker if visual else None,
        "fake_segments": united((*visual, *audio)),
        "audio_fake_segments": audio,
        "visual_fake_segments": visual,
        "video_frames": frames if isinstance(frames, int) else round(seconds * float(rate or 25)),
        "audio_frames": round(seconds * RATE_HZ) if sample.has_sound else 0,
        "duration": seconds,
        "label": str(sample.label),
        "maker": sample.maker,
    }


def _forged(sample: Sample) -> What:
    """Of what a clip is a forgery that tells no segments."""
    voiced: What = "both" if sample.extra.get("voice") == "synthetic" else "picture"
    return WHATS.get(str(sample.extra.get("forged")), voiced)


def united(stretches: Iterable[Iterable[float]]) -> list[list[float]]:
    """Stretches of time in order, those that touch as one.

    >>> united([(2.0, 3.0), (0.5, 1.0), (0.8, 1.5)])
    [[0.5, 1.5], [2.0, 3.0]]
    """
    out: list[list[float]] = []
    for start, end in sorted((float(one), float(other)) for one, other in stretches):
        if out and start <= out[-1][1]:
            out[-1][1] = max(end, out[-1][1])
        else:
            out.append([start, end])
    return out
