"""Named ways to build and train the face. A recipe is a function that returns a frozen value; `replace()` to try one.

recipe = replace(face_256(), batch=8)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

Widths = tuple[int, ...]
DECODERS = ("XS", "S", "M", "L")


@dataclass(frozen=True)
class FaceShape:
    """Sizes of the face model's networks: everything that a file of weights depends on."""

    size: int = 256
    """Side of pictures in and out, pixels; a multiple of 32."""
    channels: int = 32
    """Of V_app."""
    depth: int = 16
    """Slices of V_app."""
    appearance_widths: tuple[int, int, int] = (24, 48, 128)
    """Channels of E_app at 1/2, 1/4 and 1/8 of the side; the first two are the decoder's skips."""
    appearance_blocks: int = 2
    volume_blocks: int = 2
    canonical_widths: tuple[int, int] = (64, 96)
    motion_widths: Widths = (32, 64, 128, 192)
    motion_side: int = 256
    """Side that E_mot looks at: lids and lips need every pixel."""
    identity_widths: Widths = (32, 64, 96, 128)
    identity_side: int = 128
    identity_dims: int = 128
    encoder_blocks: int = 2
    learned_flows: int = 48
    decoder: str = "M"
    skips: bool = True
    """False is the ablation whose decoder sees nothing but the volume."""
    rig_grid: tuple[int, int, int] | None = (16, 64, 64)
    """Depth, height and width at which the rig's own flows are kept; None learns all flows."""

    def __post_init__(self) -> None:
        """Refuse shapes that no network can have."""
        if self.size < 32 or self.size % 32:
            raise ValueError(f"size must be a multiple of 32, at least 32, got {self.size}")
        if self.decoder not in DECODERS:
            raise ValueError(f"decoder must be one of {', '.join(DECODERS)}, got {self.decoder!r}")
        widths = (self.channels, *self.appearance_widths, *self.canonical_widths)
        if any(w < 8 or w % 8 for w in (*widths, *self.motion_widths, *self.identity_widths)):
            raise ValueError(f"widths must be multiples of 8, got {widths}, {self.motion_widths}")
        if self.depth < 4 or self.depth % 4 or self.learned_flows < 1 or self.identity_dims < 1:
            raise ValueError(
                f"depth must be a multiple of 4 and at least 4, got {self.depth}; flows and z_id at least 1"
            )

    @property
    def grid(self) -> int:
        """Height and width of V_app."""
        return self.size // 8


@dataclass(frozen=True)
class LossWeights:
    """How much each loss counts; zero leaves it out, and its work is not done."""

    pixels: float = 2.0
    """Charbonnier, weighted by part."""
    squared: float = 0.0
    """Squared error of the whole picture, every pixel counting alike, which is what PSNR tells; for a proof, not for
    faces: it blurs what it cannot place, and spends as much on cloth as on eyes."""
    painted: float = 0.5
    """The same on what the decoder paints by itself: behind its small share of the picture it would hardly learn."""
    background: float = 0.1
    """How much a pixel of the background counts in losses of pictures; skin counts one. Zero masks it out."""
    structure: float = 1.0
    """1 - MS-SSIM."""
    detail: float = 1.0
    """Laplacian pyramid."""
    perceptual: float = 1.0
    """Features of RenderNet A, when one is given."""
    likeness: float = 0.5
    """Identity embedding of RenderNet A, drawn against true."""
    flow: float = 2.0
    """Exact correspondence through both warps, in picture sides."""
    surface: float = 0.2
    """Which slice of the screen volume shows: cross-entropy with the true depth."""
    seen: float = 0.2
    """Visibility in the source."""
    matte: float = 0.5
    motion: float = 2.0
    """Huber on the named dimensions of z_dyn."""
    shape: float = 0.2
    """Huber on the modes of the head's shape that z_id tells."""
    pose: float = 1.0
    """Angle between true and read head rotation, shift and size."""
    free: float = 0.01
    """Squared free dimensions: the bottleneck."""
    consist: float = 0.5
    """l_consist of VASA-1."""
    cross_identity: float = 0.5
    """l_cross_id: exact where another person made the same motion, else identity of the drawn cross pair."""
    canonical: float = 0.1
    """V_app of two frames of one person agree where both were seen."""
    reversal: float = 0.05
    """Gradient reversal: z_dyn must not tell who it is."""
    contrast: float = 0.05
    """CosFace over motion: same motion on another face is nearer than other motions (s = 5, m = 0.2)."""
    flicker: float = 0.5
    """What does not change between two true frames must not change between the drawn ones."""
    adversarial: float = 0.05
    matching: float = 0.5
    """Discriminator feature matching."""

    def __post_init__(self) -> None:
        """Refuse negative weights."""
        for name, value in asdict(self).items():
            if not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")


@dataclass(frozen=True)
class FaceRecipe:
    """Everything that a training of the face depends on besides its data, its seed and its time."""

    name: str
    purpose: str
    shape: FaceShape = field(default_factory=FaceShape)
    weights: LossWeights = field(default_factory=LossWeights)
    batch: int = 16
    """Sources in a batch (each process)."""
    targets: int = 2
    """Frames drawn of each source; two, so that what should stand still between them is seen to."""
    cross: int = 4
    """Sources of a batch that also go through l_consist and l_cross_id, which cost further passes."""
    cross_every: int = 2
    """Steps from one such batch to the next."""
    max_steps: int = 1_000_000
    learning_rate: float = 4e-4
    warp_rate: float = 1.0
    """Share of the learning rate that the warps get: the rig's flows are right before any training, and a rate that
    suits the painting of a small decoder would first spoil them."""
    warmup: int = 100
    """Steps over which the learning rate rises."""
    decay_from: float = 0.6
    """Share of the run after which the learning rate falls (cosine) to a tenth."""
    weight_decay: float = 1e-4
    clip: float = 1.0
    """Largest gradient norm."""
    ema: float = 0.999
    adversarial_from: float = 0.67
    """Share of the run after which the discriminator joins; 1 leaves it out."""
    true_motion_share: float = 0.7
    """Chance that a sample is warped by true instead of read motion, for sources and targets alike."""
    fraction_cross: float = 0.5
    """Share of drivers taken from another person with the same motion, where the studio filmed one."""
    frames_per_take: int = 16
    sources_per_take: int = 8
    """Draws of a source and its targets for which the flow is kept, each of other frames than the last."""
    takes_kept: int = 192
    """Takes in memory; a batch is drawn from them, so a rendered frame is used several times."""
    batches_per_take: float = 1.0
    """How many batches pass until one take is replaced by a new one."""
    minutes: float = 16.0
    """Time budget when nobody says."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot train."""
        for name in ("batch", "targets", "max_steps", "sources_per_take", "takes_kept", "warmup", "cross_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.cross <= self.batch:
            raise ValueError(f"cross must be between 0 and batch, got {self.cross}")
        for name in ("warp_rate", "decay_from", "adversarial_from", "true_motion_share", "fraction_cross"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if self.frames_per_take < self.targets + 1:
            raise ValueError(f"frames_per_take must be above targets, got {self.frames_per_take}")
        if not 0 <= self.ema < 1 or self.learning_rate <= 0 or self.clip <= 0 or self.batches_per_take <= 0:
            raise ValueError(f"ema must be in [0, 1), rates above 0, got {self.ema}, {self.learning_rate}, {self.clip}")

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def face_tiny() -> FaceRecipe:
    """Overfits two takes on a CPU in under two minutes: proof that the loop learns."""
    shape = FaceShape(
        size=64, channels=16, depth=8, appearance_widths=(16, 24, 48), appearance_blocks=1, volume_blocks=1,
        canonical_widths=(24, 32), motion_widths=(16, 32, 48), motion_side=64, identity_widths=(16, 24),
        identity_side=32, identity_dims=16, encoder_blocks=1, learned_flows=8, decoder="XS",
        rig_grid=(8, 32, 32),
    )  # fmt: skip
    weights = LossWeights(
        squared=40.0, painted=1.0, background=0.3, structure=0.3, adversarial=0.0, matching=0.0, perceptual=0.0,
        likeness=0.0,
    )  # fmt: skip
    return FaceRecipe(
        "face_tiny", "two takes at 64 px on a CPU: proves the loop", shape, weights, batch=4, cross=2,
        cross_every=8, max_steps=450, learning_rate=3e-3, warp_rate=0.1, warmup=20, decay_from=0.3, ema=0.97,
        adversarial_from=1.0, frames_per_take=6, sources_per_take=18, takes_kept=2, batches_per_take=1e9, minutes=2.0,
    )  # fmt: skip


def face_256() -> FaceRecipe:
    """The face at 256 pixels, decoder M: the recipe of the first hour on a GPU."""
    return FaceRecipe("face_256", "256 px, decoder M, one GPU", batch=24, cross=6)


def face_512() -> FaceRecipe:
    """The face at 512 pixels, decoder M; start it from the weights of `face_256`."""
    return replace(
        face_256(), name="face_512", purpose="512 px, decoder M, one GPU, from face_256",
        shape=replace(FaceShape(), size=512), batch=8, cross=2, takes_kept=96, learning_rate=2e-4,
    )  # fmt: skip


def face_256_no_consist() -> FaceRecipe:
    """Ablation: without l_consist, l_cross_id and contrast."""
    weights = LossWeights(consist=0.0, cross_identity=0.0, contrast=0.0, reversal=0.0)
    return replace(
        face_256(), name="face_256_no_consist", purpose="ablation: no disentanglement losses", weights=weights,
        fraction_cross=0.0,
    )  # fmt: skip


def face_256_no_skip() -> FaceRecipe:
    """Ablation: a decoder that sees only the volume."""
    return replace(
        face_256(), name="face_256_no_skip", purpose="ablation: no 2-D detail from the source",
        shape=replace(FaceShape(), skips=False),
    )  # fmt: skip


@dataclass(frozen=True)
class RenderNetRecipe:
    """How a network that reads renders (depth, normals, parts, landmarks, identity, motion) is built and trained."""

    name: str
    purpose: str
    kind: str
    """`residual` or `separable`: the judge must not share the pupil's architecture."""
    seed: int
    people: str
    """`even` or `odd` person seeds: the judge must not have seen the pupil's people."""
    side: int = 128
    widths: Widths = (32, 64, 128, 192)
    blocks: int = 2
    identity_dims: int = 128
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup: int = 100
    max_steps: int = 1_000_000
    ema: float = 0.998
    clip: float = 1.0
    frames_per_take: int = 8
    takes_kept: int = 512
    batches_per_take: float = 0.5
    minutes: float = 3.0

    def __post_init__(self) -> None:
        """Refuse unknown kinds and odd sizes."""
        if self.kind not in ("residual", "separable") or self.people not in ("even", "odd"):
            raise ValueError(f"kind must be residual or separable, people even or odd, got {self.kind}, {self.people}")
        if self.side % (2 ** len(self.widths)) or self.side < 32 or any(w % 8 for w in self.widths):
            raise ValueError(f"side must be at least 32 and divisible by all halvings, got {self.side}, {self.widths}")
        if self.batch < 2 or self.takes_kept < 2 or self.frames_per_take < 2:
            raise ValueError("batch, takes_kept and frames_per_take must be at least 2")

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def render_net() -> RenderNetRecipe:
    """RenderNet A: perceptual and identity losses."""
    return RenderNetRecipe("render_net", "A: losses of the face", "residual", 1, "even")


def render_net_judge() -> RenderNetRecipe:
    """RenderNet B: scores only; another seed, architecture, resolution of features and half of the people."""
    return RenderNetRecipe(
        "render_net_judge", "B: scores, never a loss", "separable", 2, "odd", widths=(48, 96, 160, 224), blocks=3
    )


def render_net_tiny() -> RenderNetRecipe:
    """A few steps on a CPU: proof that the loop learns."""
    return RenderNetRecipe(
        "render_net_tiny", "tests on a CPU", "residual", 3, "even", side=32, widths=(16, 24), blocks=1,
        identity_dims=16, batch=4, warmup=5, takes_kept=4, frames_per_take=4, batches_per_take=4.0, minutes=0.2,
    )  # fmt: skip


FACE_RECIPES: Mapping[str, Callable[[], FaceRecipe]] = MappingProxyType(
    {r.__name__: r for r in (face_tiny, face_256, face_512, face_256_no_consist, face_256_no_skip)}
)
RENDER_NET_RECIPES: Mapping[str, Callable[[], RenderNetRecipe]] = MappingProxyType(
    {r.__name__: r for r in (render_net, render_net_judge, render_net_tiny)}
)


def face_recipe_named(name: str) -> FaceRecipe:
    """The face recipe of a name.

    Raises:
        ValueError: for a name that is not in `FACE_RECIPES`.
    """
    if name not in FACE_RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(FACE_RECIPES)}, got {name!r}")
    return FACE_RECIPES[name]()
