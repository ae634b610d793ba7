"""The z-buffer: against brute force, without cracks, in order of depth, with soft silhouettes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from forge.studio.rasterise import rasterise, splat


def soup(seed: int, vertices: int = 60, triangles: int = 40) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    screen = torch.rand(1, vertices, 3, generator=rng) * torch.tensor([40.0, 40.0, 30.0]) + torch.tensor(
        [-4.0, -4.0, 20]
    )
    return screen, torch.randint(vertices, (triangles, 3), generator=rng)


def brute_force(screen_V3: Tensor, triangles_T3: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every pixel against every triangle in float64: nearest depth, its weights, and how close the call was."""
    corner = screen_V3.double()[triangles_T3]
    centre = torch.arange(size, dtype=torch.float64) + 0.5
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    p = torch.stack([x, y], -1)[:, :, None]
    a, b, c = (corner[None, None, :, k, :2] for k in range(3))

    def cross(u: Tensor, v: Tensor) -> Tensor:
        return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]

    area = cross(b - a, c - a)
    flat = torch.stack([cross(c - b, p - b), cross(a - c, p - c), cross(b - a, p - a)], -1) / area[..., None]
    linear = flat / corner[None, None, :, :, 2]
    depth = 1.0 / linear.sum(-1)
    inside = (flat >= 0).all(-1) & (area < 0)
    depth = torch.where(inside, depth, torch.inf)
    best, which = depth.min(-1)
    weights = torch.gather(
        linear * depth[..., None].nan_to_num(posinf=0), 2, which[..., None, None].expand(-1, -1, 1, 3)
    )
    return best, torch.where(best.isfinite(), which, -1), weights[:, :, 0]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_triangles_are_drawn_as_by_brute_force(seed: int) -> None:
    screen, triangles = soup(seed)
    cover = rasterise(screen, triangles, 32)
    depth, which, weights = brute_force(screen[0], triangles, 32)
    agree = cover.triangle_BHW[0] == which
    assert agree.float().mean() > 0.995  # a pixel centre on an edge may go either way
    seen = agree & (which >= 0)
    assert seen.float().mean() > 0.3
    torch.testing.assert_close(cover.depth_BHW[0][seen].double(), depth[seen], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(cover.weights_BHW3[0][seen].double(), weights[seen], rtol=0, atol=2e-4)


def test_a_batch_is_each_picture_by_itself() -> None:
    (one, triangles), (two, _) = soup(4), soup(5)
    both = rasterise(torch.cat([one, two]), triangles, 24)
    for index, screen in enumerate((one, two)):
        assert torch.equal(both.triangle_BHW[index], rasterise(screen, triangles, 24).triangle_BHW[0])


def grid(side: int, tilt: float) -> tuple[Tensor, Tensor]:
    """A turned square of side x side cells that covers the middle of a 64-pixel picture."""
    steps = torch.linspace(-24.0, 24.0, side + 1)
    y, x = (v.reshape(-1) for v in torch.meshgrid(steps, steps, indexing="ij"))
    cos, sin = torch.cos(torch.tensor(0.3)), torch.sin(torch.tensor(0.3))
    screen = torch.stack([32 + cos * x - sin * y, 32 + sin * x + cos * y, 50 + tilt * x], 1)[None]
    i, j = (v.reshape(-1) for v in torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"))
    a = i * (side + 1) + j
    b, c, d = a + 1, a + side + 1, a + side + 2
    return screen, torch.cat([torch.stack([a, c, b], 1), torch.stack([b, c, d], 1)])


@pytest.mark.parametrize("side", [1, 7, 60, 200])
def test_seams_between_triangles_have_no_cracks(side: int) -> None:
    screen, triangles = grid(side, 0.1)
    seen = rasterise(screen, triangles, 64).seen_BHW[0]
    whole = rasterise(*grid(1, 0.1), 64).seen_BHW[0]
    assert torch.equal(seen, whole)
    assert seen.sum() == pytest.approx(48 * 48, rel=0.03)


def test_the_nearer_surface_is_seen_whatever_the_order() -> None:
    near, triangles = grid(3, 0.0)
    far = near + torch.tensor([0.0, 0.0, 5.0])
    count = near.shape[1]
    for order in ((near, far), (far, near)):
        both = rasterise(torch.cat(order, 1), torch.cat([triangles, triangles + count]), 64)
        assert both.depth_BHW[both.seen_BHW].max() == pytest.approx(50.0, abs=1e-3)


def test_back_faces_are_drawn_only_when_asked() -> None:
    screen, triangles = grid(2, 0.0)
    turned = triangles.flip(1)
    assert not rasterise(screen, turned, 64).seen_BHW.any()
    assert rasterise(screen, turned, 64, two_sided=True).seen_BHW.any()
    some = torch.arange(len(turned)) < 2
    assert set(rasterise(screen, turned, 64, two_sided=some).triangle_BHW.unique().tolist()) <= {-1, 0, 1}


def test_what_reaches_behind_the_near_plane_is_dropped() -> None:
    screen, triangles = grid(2, 0.0)
    screen[0, 0, 2] = -3.0
    drawn = set(rasterise(screen, triangles, 64).triangle_BHW.unique().tolist()) - {-1}
    assert drawn == {t for t in range(len(triangles)) if 0 not in triangles[t].tolist()}


def test_attributes_are_perspective_correct() -> None:
    screen, triangles = grid(4, 0.8)
    place = torch.cat([screen[0, :, :2] * screen[0, :, 2:], screen[0, :, 2:]], 1)  # in space, focal length 1
    cover = rasterise(screen, triangles, 64)
    point = cover.interpolate(place)[0][cover.seen_BHW[0]]
    back = point[:, :2] / point[:, 2:]
    rows, columns = cover.seen_BHW[0].nonzero().unbind(1)
    torch.testing.assert_close(back, torch.stack([columns, rows], 1) + 0.5, rtol=0, atol=2e-3)


def test_weights_carry_gradients_to_the_vertices() -> None:
    screen, triangles = grid(2, 0.2)
    screen.requires_grad_(True)
    cover = rasterise(screen, triangles, 64)
    cover.interpolate(torch.arange(9.0)[:, None]).sum().backward()
    assert screen.grad is not None
    assert screen.grad.abs().sum() > 0


def test_silhouettes_are_blended_and_the_rest_is_left_alone() -> None:
    screen, triangles = grid(3, 0.0)
    cover = rasterise(screen, triangles, 64, samples=2)
    image = cover.seen_BHW[..., None].float()
    soft = cover.antialias(image)
    exact = rasterise(screen * torch.tensor([16.0, 16.0, 1.0]), triangles, 1024).seen_BHW.float()
    exact = torch.nn.functional.avg_pool2d(exact, 16)
    assert (soft[..., 0] - exact).abs().mean() < 0.5 * (image[..., 0] - exact).abs().mean()
    inside = (exact == 0) | (exact == 1)
    assert (soft[..., 0] - exact)[inside].abs().mean() < 0.01
    with pytest.raises(ValueError, match="samples=2"):
        rasterise(screen, triangles, 64).antialias(image)


def test_points_are_hidden_by_what_is_nearer() -> None:
    depth = torch.full((1, 8, 8), 10.0)
    points = torch.tensor([[[1.5, 1.5, 9.0], [1.6, 1.4, 8.0], [3.5, 1.5, 11.0], [20.0, 1.0, 5.0]]])
    index, buffer = splat(points, depth)
    assert index[0, 1, 1] == 1
    assert buffer[0, 1, 1] == 8.0
    assert (index >= 0).sum() == 1


@pytest.mark.parametrize(
    ("screen", "triangles", "size"),
    [((4, 3), (2, 3), 8), ((1, 4, 2), (2, 3), 8), ((1, 4, 3), (2, 4), 8), ((1, 4, 3), (2, 3), 0)],
)
def test_nonsense_is_refused(screen: tuple[int, ...], triangles: tuple[int, ...], size: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        rasterise(torch.ones(screen), torch.zeros(triangles, dtype=torch.int64), size)
