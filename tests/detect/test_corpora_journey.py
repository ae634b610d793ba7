"""A person with FaceForensics++ on disk: folder, trained detector, table, in three commands."""

from __future__ import annotations

import json
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from detect.cli import app
from media.clip import Clip
from media.video import read_image, write_clip

PORTRAITS = ("ada", "bo", "cy", "dora")
PAIRS = {"train": [["000", "003"], ["071", "054"]], "val": [["100", "101"]], "test": []}


def recording(number: int) -> np.ndarray:
    """One second of a portrait of nobody that nods, each in its own way."""
    name = PORTRAITS[number % len(PORTRAITS)]
    portrait = read_image(Path(str(files("countermark"))) / "demo_assets" / f"{name}.webp")
    picture = cv2.resize(portrait, (224, 224), interpolation=cv2.INTER_AREA)
    picture = picture[:, ::-1] if number >= len(PORTRAITS) else picture
    frames = []
    for n in range(25):
        shift = 3 * np.sin(0.3 * n + number), 2 * np.cos(0.2 * n * (1 + number))
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
        frames.append(cv2.warpAffine(picture, matrix, (224, 224), borderMode=cv2.BORDER_REFLECT))
    return np.stack(frames).astype(np.uint8)


def forensics(root: Path) -> Path:
    """FaceForensics++ as its download script leaves it: two methods, one compression, masks of one."""
    names = [name for pairs in PAIRS.values() for pair in pairs for name in pair]
    real = {name: recording(number) for number, name in enumerate(names)}
    for split, pairs in PAIRS.items():
        root.mkdir(exist_ok=True)
        (root / f"{split}.json").write_text(json.dumps(pairs))
    for name, frames in real.items():
        film(root / "original_sequences" / "youtube" / "c23" / "videos" / f"{name}.mp4", frames)
    for pairs in PAIRS.values():
        for first, second in pairs:
            for target, source in ((first, second), (second, first)):
                for method in ("Deepfakes", "Face2Face"):
                    forged = real[target].copy()
                    blur = 9 if method == "Deepfakes" else 3
                    for frame in forged:
                        frame[70:170, 70:154] = cv2.GaussianBlur(frame[70:170, 70:154], (blur, blur), 0)
                    where = root / "manipulated_sequences" / method
                    film(where / "c23" / "videos" / f"{target}_{source}.mp4", forged)
                masks = np.zeros_like(forged)
                masks[:, 70:170, 70:154] = 255
                film(
                    root / "manipulated_sequences" / "Deepfakes" / "masks" / "videos" / f"{target}_{source}.mp4", masks
                )
    return root


def film(path: Path, frames: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(Clip(frames, Fraction(25), None), path, crf=23, preset="ultrafast")


@pytest.mark.slow
def test_from_the_folder_to_a_trained_detector_and_a_table_in_three_commands(tmp_path: Path) -> None:
    folder, data, run, table = forensics(tmp_path / "ff"), tmp_path / "data", tmp_path / "run", tmp_path / "table"

    def call(*words: str | Path) -> dict[str, object]:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return dict(json.loads(result.stdout))

    made = call("corpora", "import", folder, "-o", data)
    assert made["layout"] == "faceforensics++" and made["missing"] == 0
    assert made["counts"] == {"train/real": 4, "train/synthetic": 8, "val/real": 2, "val/synthetic": 4}
    trained = call("train", "frame_tiny", data, "-o", run, "--minutes", "0.2")
    assert Path(str(trained["weights"])).is_file()
    figures = call("evaluate", str(trained["weights"]), data, "-o", table)
    assert figures["clips"] == 6 and set(figures["by_maker"]) == {"Deepfakes", "Face2Face"}  # type: ignore[call-overload]
    assert set(figures["by_codec"]) == {"c23"} and (table / "scores.jsonl").is_file()  # type: ignore[call-overload]
    lines = [json.loads(line) for line in (table / "scores.jsonl").read_text().splitlines()]
    assert all(line["status"] == "ok" for line in lines)
