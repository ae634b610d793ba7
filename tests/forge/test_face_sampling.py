"""Volumes and pictures are read at the right places, by torch and by the kernel alike."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from forge.face.sampling import picture_grid, sample_folded, sample_picture, sample_volume, volume_grid

REPO = Path(__file__).resolve().parents[2]

KERNEL = """
import sys
import torch
from torch.nn import functional
from forge.face.sampling_cuda import sample2d, sample3d

torch.manual_seed(int(sys.argv[1]))
for dtype, allowed in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
    for border in (False, True):
        volume = torch.randn(2, 6, 3, 5, 4).to(dtype)
        where = torch.rand(4, 2, 3, 7, 3) * 3 - 1.5  # a third of the places lie outside
        want = functional.grid_sample(
            volume.double().repeat_interleave(2, 0), where.double(),
            padding_mode="border" if border else "zeros", align_corners=False,
        )
        got = sample3d(volume.permute(0, 2, 3, 4, 1).contiguous(), where, border)
        got = got.view(4, 3, 7, 2, 6).permute(0, 4, 3, 1, 2).double()
        assert (got - want).norm() / want.norm() < allowed, ("3d", dtype, border, (got - want).abs().max())
    picture = torch.randn(1, 5, 6, 4).to(dtype)
    where = torch.rand(3, 4, 7, 2) * 3 - 1.5
    want = functional.grid_sample(
        picture.double().expand(3, -1, -1, -1), where.double(), padding_mode="border", align_corners=False
    )
    got = sample2d(picture.permute(0, 2, 3, 1).contiguous(), where).permute(0, 3, 1, 2).double()
    assert (got - want).norm() / want.norm() < allowed, ("2d", dtype)
print("equal")
"""


def test_the_kernel_agrees_with_double_precision_when_interpreted() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KERNEL, "7"], capture_output=True, text=True, cwd=REPO, env=environment, check=False
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]


def test_a_volume_read_at_its_own_voxels_is_itself() -> None:
    volume = torch.randn(2, 3, 4, 5, 6)
    assert torch.allclose(sample_volume(volume, volume_grid(4, 5, 6).expand(2, -1, -1, -1, -1)), volume, atol=1e-5)


def test_folding_puts_depth_outside_channels() -> None:
    volume = torch.randn(1, 3, 4, 5, 6)
    folded = sample_folded(volume, volume_grid(4, 5, 6)[None])
    assert torch.allclose(folded[0, 2 * 3 + 1], volume[0, 1, 2], atol=1e-5)


def test_frames_in_a_row_share_their_portrait() -> None:
    picture = torch.randn(2, 3, 4, 4)
    out = sample_picture(picture, picture_grid(4, 4).expand(6, -1, -1, -1))
    assert torch.allclose(out, picture.repeat_interleave(3, 0), atol=1e-5)


@pytest.mark.gpu
def test_the_kernel_agrees_with_torch_on_the_gpu() -> None:
    volume = torch.randn(2, 32, 16, 32, 32, device="cuda", dtype=torch.bfloat16)
    where = torch.rand(8, 16, 32, 32, 3, device="cuda") * 2.4 - 1.2
    with torch.inference_mode():
        fast = sample_folded(volume, where).float()
        slow = sample_folded(volume.float().cpu(), where.cpu()).cuda()
    assert (fast - slow).norm() / slow.norm() < 1e-2
