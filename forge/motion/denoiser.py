"""The motion network of VASA-1: a transformer that predicts the clean motion of a window from its noisy one.

    denoiser = MotionDenoiser(DenoiserShape())
    clean_BTM = denoiser(noisy_BTM, time_B, conditions)

Axes: B batch, T frames of the window, P frames of context before it, M motion features, A audio features a frame,
W width, H heads.

The answer is mostly given away: cos(t) of the noisy motion, which is the best linear guess at little noise, and a
linear reading of what is heard around each frame (`hint`), which is the best at much. The transformer adds the rest.

One token a frame, context and window in one sequence; a token carries the frame's motion (noisy, or known in the
context) and its sound. Time, gaze, distance, emotion and manner of speaking steer every layer through adaptive
normalisation (adaLN-Zero, arXiv 2212.09748), whose modulation is shared between layers up to a table, which keeps the
weights small. What a condition lacks is filled with a learned "none".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, pi

import torch
from torch import Tensor, nn
from torch.nn import functional

from forge.motion.controls import EMOTIONS
from forge.motion.features import FREE_NAMES, NAMES
from forge.motion.listening import AUDIO_FEATURES

CONTEXT_FRAMES = 10
WINDOW_FRAMES = 50
CARRIED = 4
"""Known frames that a window is carried on from."""
HINT_REACH = 3
"""Frames to each side that the linear reading of the sound looks."""
CONDITIONS: tuple[str, ...] = ("audio", "past", "gaze", "distance", "emotion", "manner")
"""What can be taken away, for guidance and in training. `past` is X_pre and A_pre together, as in the paper."""


@dataclass(frozen=True)
class DenoiserShape:
    """Sizes of the network."""

    width: int = 256
    layers: int = 8
    heads: int = 8
    context: int = CONTEXT_FRAMES
    window: int = WINDOW_FRAMES

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        if self.width % (2 * self.heads):
            raise ValueError(f"width must be a multiple of twice the heads, got {self.width} and {self.heads}")
        if min(self.layers, self.context, self.window) < 1:
            raise ValueError(f"layers, context and window must be at least 1, got {self}")


@dataclass(frozen=True, eq=False)
class Conditions:
    """What steers a window. `missing` names what is not given, for all rows; the flags say it row by row."""

    audio_BTA: Tensor
    """What is heard during the window's frames (`listening`)."""
    heard_BT: Tensor
    """bool: False where the sound is not (yet) known, as the tail of a live window."""
    past_motion_BPM: Tensor
    """X_pre: motion before the window, standardised."""
    past_audio_BPA: Tensor
    """A_pre."""
    has_past_B: Tensor
    """bool: False at the start of a clip."""
    gaze_B2: Tensor
    """Main gaze, yaw and pitch, degrees / 30."""
    has_gaze_B: Tensor
    distance_B: Tensor
    """Natural log of the size of the head, relative to the picture."""
    has_distance_B: Tensor
    emotion_BE: Tensor
    """Strength of each emotion of `controls.EMOTIONS`; all zero is neutral."""
    has_emotion_B: Tensor
    manner_B: Tensor
    """How the face speaks: 1 as people on video do, 0 as the hand-made mouth does, which articulates more clearly."""
    has_manner_B: Tensor

    def without(self, names: frozenset[str]) -> Conditions:
        """The same with some of `CONDITIONS` taken away in all rows.

        Raises:
            ValueError: for a name that is none.
        """
        unknown = names - set(CONDITIONS)
        if unknown:
            raise ValueError(f"conditions are {', '.join(CONDITIONS)}, got {', '.join(sorted(unknown))}")
        field = {"audio": "heard_BT", "past": "has_past_B", "gaze": "has_gaze_B", "distance": "has_distance_B"}
        field |= {"emotion": "has_emotion_B", "manner": "has_manner_B"}
        gone = {field[name]: torch.zeros_like(getattr(self, field[name])) for name in names}
        return replace(self, **gone)

    def dropped(self, chances: dict[str, float], generator: torch.Generator, tail: float = 0.0) -> Conditions:
        """For training: each row loses each condition by its chance, and with chance `tail` the end of its sound."""
        batch, frames = self.heard_BT.shape
        kept = {name: torch.rand(batch, generator=generator) >= chance for name, chance in chances.items()}
        cut_B = torch.where(
            torch.rand(batch, generator=generator) < tail,
            torch.randint(1, frames + 1, (batch,), generator=generator),
            torch.full((batch,), frames),
        )
        heard_BT = self.heard_BT & (torch.arange(frames)[None] < cut_B[:, None])
        always = torch.ones(batch, dtype=torch.bool)
        return replace(
            self,
            heard_BT=heard_BT & kept.get("audio", always)[:, None],
            has_past_B=self.has_past_B & kept.get("past", always),
            has_gaze_B=self.has_gaze_B & kept.get("gaze", always),
            has_distance_B=self.has_distance_B & kept.get("distance", always),
            has_emotion_B=self.has_emotion_B & kept.get("emotion", always),
            has_manner_B=self.has_manner_B & kept.get("manner", always),
        )


class Layer(nn.Module):
    """Attention and feed-forward, both modulated and gated; gates start at zero, so depth costs nothing at first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width, elementwise_affine=False)
        self.before_feed = nn.LayerNorm(width, elementwise_affine=False)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.table_6W = nn.Parameter(torch.zeros(6, width))

    def forward(self, x_BNW: Tensor, steer_B6W: Tensor, turn_N2K: Tensor) -> Tensor:
        """One layer over N tokens."""
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (steer_B6W + self.table_6W).unsqueeze(2).unbind(1)
        y_BNW = self.before_attention(x_BNW) * (1 + scale_a) + shift_a
        x_BNW = x_BNW + gate_a * self._attend(y_BNW, turn_N2K)
        y_BNW = self.before_feed(x_BNW) * (1 + scale_f) + shift_f
        fed_BNW: Tensor = self.narrow(functional.gelu(self.widen(y_BNW)))
        return x_BNW + gate_f * fed_BNW

    def _attend(self, x_BNW: Tensor, turn_N2K: Tensor) -> Tensor:
        batch, tokens, width = x_BNW.shape
        parts = self.query_key_value(x_BNW).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(turned(query, turn_N2K), turned(key, turn_N2K), value)
        out_BNW: Tensor = self.mix(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return out_BNW


def turned(x_BHNK: Tensor, turn_N2K: Tensor) -> Tensor:
    """Rotary positions (arXiv 2104.09864): attention depends on how far frames lie apart, not on where they are."""
    first, second = x_BHNK.chunk(2, dim=-1)
    cosine, sine = turn_N2K[:, 0], turn_N2K[:, 1]
    turned_BHNK: Tensor = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
    return turned_BHNK


def rotary_turns(places_N: Tensor, head_width: int) -> Tensor:
    """(N, 2, K) cosines and sines for frames at `places_N`; K is half a head's width."""
    half = head_width // 2
    rates_K = torch.exp(-log(100.0) * torch.arange(half, dtype=torch.float32) / half)
    angle_NK = places_N.float()[:, None] * rates_K[None]
    return torch.stack([angle_NK.cos(), angle_NK.sin()], dim=1)


def time_waves(time_B: Tensor, width: int) -> Tensor:
    """(B, W) sines and cosines of diffusion time, from 1 to 1000 turns."""
    half = width // 2
    rates = torch.exp(torch.linspace(0.0, log(1000.0), half, device=time_B.device))
    angle = time_B[:, None] * rates[None]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class MotionDenoiser(nn.Module):
    """Noisy motion, time and conditions to clean motion."""

    turns_N2K: Tensor
    drawn_M: Tensor

    def __init__(self, shape: DenoiserShape) -> None:
        super().__init__()
        self.shape = shape
        width, features = shape.width, len(NAMES)
        self.from_motion = nn.Linear(features, width)
        self.from_past = nn.Linear(features, width)
        self.from_audio = nn.Sequential(nn.Linear(AUDIO_FEATURES, width), nn.GELU(), nn.Linear(width, width))
        # sound reaches its neighbours (five frames) before attention: articulation runs ahead of what is heard
        self.near = nn.Conv1d(width, width, 5, padding=2, groups=8)
        self.no_audio_W = nn.Parameter(torch.zeros(width))
        self.no_past_W = nn.Parameter(torch.zeros(width))
        self.is_past_W = nn.Parameter(torch.zeros(width))
        self.from_gaze, self.no_gaze_W = nn.Linear(2, width), nn.Parameter(torch.zeros(width))
        self.from_distance, self.no_distance_W = nn.Linear(1, width), nn.Parameter(torch.zeros(width))
        self.from_emotion, self.no_emotion_W = nn.Linear(len(EMOTIONS), width), nn.Parameter(torch.zeros(width))
        self.from_manner, self.no_manner_W = nn.Linear(1, width), nn.Parameter(torch.zeros(width))
        self.from_time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.steer = nn.Linear(width, 6 * width)
        self.layers = nn.ModuleList([Layer(width, shape.heads) for _ in range(shape.layers)])
        self.last = nn.LayerNorm(width)
        self.to_motion = nn.Linear(width, features)
        self.hint = nn.Conv1d(AUDIO_FEATURES, features, 2 * HINT_REACH + 1, padding=HINT_REACH)
        # from the last known frames straight on: where a window begins is hardly a matter of taste
        self.carry_TKM = nn.Parameter(torch.zeros(shape.window, CARRIED, features))
        self.register_buffer(
            "drawn_M",
            torch.tensor([float(n not in FREE_NAMES and not n.startswith("eyeLook")) for n in NAMES]),
            persistent=False,
        )
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)
        nn.init.zeros_(self.to_motion.weight)
        nn.init.zeros_(self.to_motion.bias)
        nn.init.zeros_(self.hint.weight)
        assert self.hint.bias is not None
        nn.init.zeros_(self.hint.bias)
        for layer in self.layers:
            assert isinstance(layer, Layer)
            # a small open gate: with zero everywhere the first steps would train the table alone
            nn.init.constant_(layer.table_6W[2], 0.1)
            nn.init.constant_(layer.table_6W[5], 0.1)
        places = torch.arange(-shape.context, shape.window)
        self.register_buffer("turns_N2K", rotary_turns(places, width // shape.heads), persistent=False)

    def forward(self, noisy_BTM: Tensor, time_B: Tensor, given: Conditions) -> Tensor:
        """Predicted clean motion (B, T, M); T may be shorter than the window it was made for.

        Raises:
            ValueError: for windows longer than the network's.
        """
        frames = noisy_BTM.shape[1]
        if frames > self.shape.window or given.past_motion_BPM.shape[1] != self.shape.context:
            raise ValueError(
                f"windows are at most {self.shape.window} frames after {self.shape.context}, got {frames} after "
                f"{given.past_motion_BPM.shape[1]}"
            )
        sound_BNW = self._sound(given)
        past_BPW = self.from_past(given.past_motion_BPM) + sound_BNW[:, : self.shape.context]
        past_BPW = torch.where(given.has_past_B.view(-1, 1, 1), past_BPW, self.no_past_W) + self.is_past_W
        now_BTW = self.from_motion(noisy_BTM) + sound_BNW[:, self.shape.context :]
        x_BNW = torch.cat([past_BPW, now_BTW], dim=1)
        steer_B6W = self.steer(functional.silu(self.wishes(time_B, given))).view(-1, 6, self.shape.width)
        turns = self.turns_N2K[: self.shape.context + frames]
        for layer in self.layers:
            x_BNW = layer(x_BNW, steer_B6W, turns)
        rest_BTM = self.to_motion(self.last(x_BNW[:, self.shape.context :])) + self._hint(given)
        past_BKM = given.past_motion_BPM[:, -CARRIED:] * given.has_past_B.view(-1, 1, 1)
        rest_BTM = rest_BTM + torch.einsum("bkm,tkm->btm", past_BKM, self.carry_TKM[:frames, -past_BKM.shape[1] :])
        angle_B11 = (time_B * (pi / 2)).view(-1, 1, 1)
        answer_BTM: Tensor = angle_B11.cos() * noisy_BTM + angle_B11.sin() * rest_BTM
        return answer_BTM * self.drawn_M

    def _hint(self, given: Conditions) -> Tensor:
        """(B, T, M) linear reading of the sound three frames around; nothing where it is unknown."""
        past_BP = given.has_past_B[:, None].expand(-1, self.shape.context)
        known_BN = torch.cat([past_BP & given.heard_BT[:, :1], given.heard_BT], dim=1)
        audio_BNA = torch.cat([given.past_audio_BPA, given.audio_BTA], dim=1) * known_BN[:, :, None]
        hint_BMN = self.hint(audio_BNA.transpose(1, 2))
        return hint_BMN.transpose(1, 2)[:, self.shape.context :] * given.heard_BT[:, :, None]  # type: ignore[no-any-return]

    def _sound(self, given: Conditions) -> Tensor:
        """(B, P + T, W) what is heard at each frame; "none" where nothing is known."""
        audio_BNA = torch.cat([given.past_audio_BPA, given.audio_BTA], dim=1)
        past_BP = given.has_past_B[:, None].expand(-1, self.shape.context)
        known_BN = torch.cat([past_BP, given.heard_BT], dim=1)[:, :, None]
        sound_BNW = torch.where(known_BN, self.from_audio(audio_BNA), self.no_audio_W)
        return sound_BNW + self.near(sound_BNW.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]

    def wishes(self, time_B: Tensor, given: Conditions) -> Tensor:
        """(B, W) diffusion time and what is asked for."""
        wish_BW = self.from_time(time_waves(time_B, self.shape.width))
        for has_B, value, layer, none in (
            (given.has_gaze_B, given.gaze_B2, self.from_gaze, self.no_gaze_W),
            (given.has_distance_B, given.distance_B[:, None], self.from_distance, self.no_distance_W),
            (given.has_emotion_B, given.emotion_BE, self.from_emotion, self.no_emotion_W),
            (given.has_manner_B, given.manner_B[:, None], self.from_manner, self.no_manner_W),
        ):
            wish_BW = wish_BW + torch.where(has_B[:, None], layer(value), none)
        return wish_BW  # type: ignore[no-any-return]
