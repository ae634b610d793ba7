"""The Triton kernels: the same pictures as torch, on a CPU by Triton's interpreter, and they compile for a GPU."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton", reason="the kernels need the package triton")

COMPARE = """
import torch
from forge.studio.rasterise import rasterise
torch.set_num_threads(1)
rng = torch.Generator().manual_seed(1)
screen = torch.rand(2, 30, 3, generator=rng) * torch.tensor([26.0, 26.0, 30.0]) + torch.tensor([-4.0, -4.0, 20.0])
triangles = torch.randint(30, (20, 3), generator=rng)
screen[0, :15, :2] = 9 + (screen[0, :15, :2] - 9) * 0.25
for two_sided in (False, torch.rand(20, generator=rng) > 0.5):
    plain = rasterise(screen, triangles, 18, two_sided=two_sided, kernel=False)
    kernel = rasterise(screen, triangles, 18, two_sided=two_sided, kernel=True)
    assert plain.seen_BHW.float().mean() > 0.4
    assert (plain.triangle_BHW != kernel.triangle_BHW).float().mean() < 0.004
    same = plain.triangle_BHW == kernel.triangle_BHW
    torch.testing.assert_close(plain.depth_BHW[same], kernel.depth_BHW[same], rtol=1e-5, atol=1e-4)
"""


def test_the_kernels_draw_what_torch_draws() -> None:
    settings = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", COMPARE], capture_output=True, text=True, env=settings, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["_small", "_large"])
def test_the_kernels_compile_for_an_h100_without_one(name: str) -> None:
    compiler = pytest.importorskip("triton.compiler")
    backends = pytest.importorskip("triton.backends.compiler")
    from triton import compile as compile_kernel

    from forge.studio import raster_cuda

    kernel = getattr(raster_cuda, name)
    kinds = {"screen": "*fp32", "triangles": "*i32", "both_sides": "*u8", "packed": "*i64"}
    kinds |= dict.fromkeys(("count", "vertices", "size"), "i32")
    fixed = {"BLOCK": 64, "LARGEST": 64, "NEAR": 1.0}
    source = compiler.ASTSource(fn=kernel, signature=kinds | dict.fromkeys(fixed, "constexpr"), constexprs=fixed)
    built = compile_kernel(source, target=backends.GPUTarget("cuda", 90, 32), options={"num_warps": 2})
    assert ".min.s64" in built.asm["ptx"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_head_on_the_gpu_is_the_head_on_the_cpu() -> None:
    from forge.studio.head import load_head, pose_matrix, project, standard_focal
    from forge.studio.rasterise import rasterise

    head = load_head()
    pose = torch.zeros(2, 6)
    pose[1, 0] = 25.0
    screen = project(
        head.deform(torch.zeros(2, head.modes), torch.zeros(2, 64)), pose_matrix(pose), standard_focal(256), 256
    )
    cpu = rasterise(screen, head.triangles_T3, 256, two_sided=head.two_sided_T)
    gpu = rasterise(screen.cuda(), head.triangles_T3.cuda(), 256, two_sided=head.two_sided_T.cuda())
    assert (cpu.triangle_BHW != gpu.triangle_BHW.cpu()).float().mean() < 0.002
