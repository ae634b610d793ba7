import torch

from forge.studio.rasterise import rasterise
from forge.studio.spans import rasterise_spans


def triangles_in_space(count: int, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    middle = torch.rand(count, 1, 3, generator=generator) * torch.tensor([64.0, 64.0, 40.0]) + torch.tensor(
        [0, 0, 50.0]
    )
    corner = middle + spread * torch.randn(count, 3, 3, generator=generator)
    return corner.reshape(1, -1, 3), torch.arange(3 * count).view(-1, 3)


def test_spans_see_what_the_other_rasteriser_sees():
    screen, triangles = triangles_in_space(300, 6.0)
    two_sided = torch.arange(300) % 2 == 0
    one, other = (
        rasterise(screen, triangles, 64, two_sided=two_sided),
        rasterise_spans(screen, triangles, 64, two_sided),
    )
    same = one.triangle_BHW == other.triangle_BHW
    assert same.float().mean() > 0.997
    assert torch.allclose(one.weights_BHW3[same], other.weights_BHW3[same], atol=1e-3)
    near = (one.depth_BHW[same] - other.depth_BHW[same]).abs()
    assert near[near.isfinite()].max() < 1e-2


def test_neighbours_leave_no_crack():
    grid = torch.stack(torch.meshgrid(torch.linspace(2.3, 61.7, 9), torch.linspace(2.1, 60.9, 9), indexing="xy"), -1)
    points = torch.cat([grid.reshape(-1, 2), torch.full((81, 1), 50.0)], 1)[None]
    a = (torch.arange(8)[:, None] * 9 + torch.arange(8)[None]).reshape(-1)
    triangles = torch.cat([torch.stack([a, a + 1, a + 10], 1), torch.stack([a, a + 10, a + 9], 1)])
    cover = rasterise_spans(points, triangles, 64, torch.ones(len(triangles), dtype=torch.bool))
    assert (cover.triangle_BHW[0, 3:60, 3:60] >= 0).all()


def test_nothing_in_view_is_an_empty_picture():
    screen, triangles = triangles_in_space(3, 1.0)
    cover = rasterise_spans(screen + 500, triangles, 32, torch.ones(3, dtype=torch.bool))
    assert (cover.triangle_BHW == -1).all() and cover.depth_BHW.isinf().all()
