"""Weights on disk are whole or refused."""

import json
from pathlib import Path

import pytest
import torch

from forge.checkpoint import HEADER_BYTES, INDEX, load_sharded, read_facts, save_sharded
from forge.portrait import ForgeError

SMALL = HEADER_BYTES + 4096
"""Shards of 4 kB, so that little data makes many."""


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    return {
        "large": torch.randn(50, 60),
        "half": torch.randn(7).half(),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 4),
        "brain": torch.randn(5, 3).bfloat16(),
    }


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_sharded(tensors, tmp_path / "w", facts={"step": 7}, limit=SMALL)
    again, facts = load_sharded(tmp_path / "w")
    assert facts == {"step": 7} == read_facts(tmp_path / "w" / INDEX)
    assert list(again) == list(tensors)
    assert all(torch.equal(again[n], t) and again[n].dtype == t.dtype for n, t in tensors.items())


def test_no_shard_is_larger_than_the_limit(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_sharded(tensors, tmp_path, limit=SMALL)
    sizes = [file.stat().st_size for file in tmp_path.glob("*.safetensors")]
    assert len(sizes) > 2 and max(sizes) <= SMALL


def test_saving_again_leaves_only_the_new_set(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_sharded(tensors, tmp_path, limit=SMALL)
    save_sharded({"one": torch.ones(3)}, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert load_sharded(tmp_path)[0].keys() == {"one"}


@pytest.mark.parametrize("damage", ["truncate", "alter", "remove", "swap"])
def test_a_damaged_set_is_refused_in_one_line(tmp_path: Path, tensors: dict[str, torch.Tensor], damage: str) -> None:
    save_sharded(tensors, tmp_path, limit=SMALL)
    first, second = sorted(tmp_path.glob("*.safetensors"))[:2]
    content = bytearray(first.read_bytes())
    if damage == "truncate":
        first.write_bytes(content[:-10])
    elif damage == "alter":
        content[-1] ^= 1
        first.write_bytes(content)
    elif damage == "remove":
        first.unlink()
    else:
        first.write_bytes(second.read_bytes())
    with pytest.raises(ForgeError) as caught:
        load_sharded(tmp_path)
    assert first.name in str(caught.value) and "\n" not in str(caught.value)


def test_a_shard_of_another_save_is_refused(tmp_path: Path) -> None:
    save_sharded({"a": torch.zeros(4)}, tmp_path / "old")
    save_sharded({"a": torch.ones(4)}, tmp_path / "new")
    stray = next((tmp_path / "old").glob("*.safetensors"))
    own = next((tmp_path / "new").glob("*.safetensors"))
    own.write_bytes(stray.read_bytes())
    with pytest.raises(ForgeError, match="differ"):
        load_sharded(tmp_path / "new")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "other"}'])
def test_what_is_no_index_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(ForgeError, match=INDEX):
        load_sharded(tmp_path)


def test_an_index_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    save_sharded({"a": torch.zeros(4)}, tmp_path)
    index = json.loads((tmp_path / INDEX).read_text())
    index["shards"][0]["file"] = "../secret.safetensors"
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(ForgeError, match="outside"):
        load_sharded(tmp_path)


def test_an_absent_folder_and_nothing_to_save_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match="no weights here"):
        load_sharded(tmp_path / "nowhere")
    with pytest.raises(ForgeError, match="no tensors"):
        save_sharded({}, tmp_path)
