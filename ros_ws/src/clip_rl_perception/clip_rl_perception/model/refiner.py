"""The mask refiner: a fully convolutional policy that acts on every stride-4 pixel, T times with the same weights.

It knows no class: its state holds probabilities in order of size, embeddings and image features, so one policy serves
any class list. Multi-agent view of pixels: PixelRL (arXiv 1811.04323, 1912.07190) and IteR-MRL (arXiv 1911.10334).
Notation: B images, K classes, h x w stride-4 pixels, A actions, D width of the text space.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from clip_rl_perception.model.actions import (
    ACTIONS,
    PROBABILITY_FLOOR,
    Action,
    apply_actions,
    first_of_largest,
    runner_up,
)
from clip_rl_perception.model.segmenter_config import RefinerConfig

EDGE_CHANNELS = 3
"""Channels of `image_edges`."""

_MARGIN_MAX = 8.0
"""Log-odds of the first class against the second above which a pixel counts as decided, nats."""

_UNAVAILABLE = -1.0e4
"""Logit of an action that may not be chosen: its probability is exactly 0 and, unlike -inf, p log p stays finite."""


class RefinerContext(NamedTuple):
    """What does not change during the steps of one frame."""

    static: Tensor
    """Contribution of decoder features and image edges to the policy's first layer, (B, width, h, w)."""
    text: Tensor
    """Text embeddings projected to the state's channels, (K, E)."""
    previous: Tensor
    """Refined log-probabilities of the previous frame, (B, K, h, w); any value where there is none."""
    has_previous: Tensor
    """1.0 where `previous` counts, else 0.0, (B, 1, 1, 1)."""


class RefinerState(NamedTuple):
    """What the policy sees in one step."""

    dynamic: Tensor
    """Maps that change with every step, (B, S, h, w)."""
    static: Tensor
    """As in `RefinerContext`."""
    has_previous: Tensor
    """As in `RefinerContext`."""


class PolicyOutput(NamedTuple):
    """Heads of the policy."""

    action_logits: Tensor
    """(B, A, h, w), unavailable actions at probability 0."""
    value: Tensor
    """Expected return of each pixel, (B, h, w)."""


class Refiner(nn.Module):
    """Policy, value and the step that applies the greedy action."""

    def __init__(self, feature_channels: int, embedding_dim: int, config: RefinerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.reduce = nn.Conv2d(feature_channels, config.feature_channels, 1, bias=False)
        self.project = nn.Linear(embedding_dim, config.text_channels, bias=False)
        self.from_static = nn.Conv2d(config.feature_channels + EDGE_CHANNELS, width, 3, padding=1)
        self.from_dynamic = nn.Conv2d(self.dynamic_channels, width, 3, padding=1, bias=False)
        self.from_flag = nn.Parameter(torch.zeros(width, 1, 1))
        self.around = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation) for dilation in config.dilations
        )
        self.join = nn.Conv2d(width, width, 1)
        self.action_head = nn.Conv2d(width, len(ACTIONS), 1)
        self.value_head = nn.Conv2d(width, 1, 1)
        for head in (self.action_head, self.value_head):
            nn.init.zeros_(head.weight)
            assert head.bias is not None
            nn.init.zeros_(head.bias)
        with torch.no_grad():
            assert self.action_head.bias is not None
            self.action_head.bias[Action.KEEP] = config.keep_bias

    @property
    def dynamic_channels(self) -> int:
        """S: first and second probability, margin, entropy, expected embedding, two of the previous frame."""
        return 4 + self.config.text_channels + 2

    def context(
        self,
        features: Tensor,
        edges: Tensor,
        text: Tensor,
        previous: Tensor | None = None,
        has_previous: Tensor | None = None,
    ) -> RefinerContext:
        """Prepare the steps of a batch.

        Args:
            features: decoder features (B, C, h, w).
            edges: `image_edges` of the images, (B, 3, h, w).
            text: text embeddings (K, D), unit rows.
            previous: refined log-probabilities of the previous frames, (B, K, h, w), or None.
            has_previous: which images of the batch have a previous frame, bool or 0/1, (B,); None means all where
                `previous` is given.
        """
        batch, _, height, width = features.shape
        # Features drift in scale while the decoder trains on; their direction is what the policy reads.
        unit = features * torch.rsqrt(features.square().mean(dim=1, keepdim=True) + 1e-6)
        if previous is None:
            previous = features.new_zeros(batch, text.shape[0], height, width)
            flag = features.new_zeros(batch, 1, 1, 1)
        elif has_previous is None:
            flag = features.new_ones(batch, 1, 1, 1)
        else:
            flag = has_previous.to(features.dtype).reshape(-1, 1, 1, 1)
        static = self.from_static(torch.cat([self.reduce(unit), edges], dim=1))
        return RefinerContext(static, self.project(text), previous, flag)

    def observe(self, log_probs: Tensor, context: RefinerContext) -> RefinerState:
        """State of log-probabilities (B, K, h, w)."""
        probs = log_probs.exp()
        first = probs.amax(dim=1, keepdim=True)
        is_first = probs == first
        second = runner_up(probs, is_first)
        margin = (first / second.clamp(min=PROBABILITY_FLOOR)).log().clamp(max=_MARGIN_MAX) / _MARGIN_MAX
        entropy = -(probs * log_probs).sum(dim=1, keepdim=True)
        expected = (context.text.T @ probs.flatten(2)).reshape(-1, self.config.text_channels, *probs.shape[2:])
        before = context.previous.exp()
        agreement = (probs * before).sum(dim=1, keepdim=True) * context.has_previous
        support = torch.where(is_first, before, 0.0).amax(dim=1, keepdim=True) * context.has_previous
        dynamic = torch.cat([first, second, margin, entropy, expected, agreement, support], dim=1)
        return RefinerState(dynamic, context.static, context.has_previous)

    def forward(self, state: RefinerState) -> PolicyOutput:
        """Action logits and values of a state."""
        near = functional.relu(self.from_dynamic(state.dynamic) + state.static + state.has_previous * self.from_flag)
        # Context from a wider surround is smooth: a quarter of the places is enough for it.
        far = functional.avg_pool2d(near, 2)
        for layer in self.around:
            far = far + functional.relu(layer(far))
        x = functional.relu(self.join(near + functional.interpolate(far, scale_factor=2.0, mode="nearest")))
        mask = torch.where(self.available(state.has_previous.flatten()), 0.0, _UNAVAILABLE)
        return PolicyOutput(self.action_head(x) + mask[:, :, None, None], self.value_head(x).squeeze(1))

    def available(self, has_previous: Tensor) -> Tensor:
        """Which actions may be chosen, bool (B, A): RECALL only with a previous frame; `has_previous` is (B,)."""
        recall = torch.arange(len(ACTIONS), device=has_previous.device) == Action.RECALL
        return ~recall[None, :] | (has_previous > 0)[:, None]

    def step(self, log_probs: Tensor, context: RefinerContext) -> tuple[Tensor, Tensor]:
        """One greedy step: log-probabilities (B, K, h, w) after it, and the actions, int64 (B, h, w)."""
        actions = first_of_largest(self(self.observe(log_probs, context)).action_logits)
        return self.act(log_probs, actions, context), actions

    def act(self, log_probs: Tensor, actions: Tensor, context: RefinerContext) -> Tensor:
        """`apply_actions` with this refiner's exponent and the context's previous frame."""
        return apply_actions(log_probs, actions, context.previous, sharpen=self.config.sharpen)


class EdgeFilters(NamedTuple):
    """The fixed filters of `image_edges`; graphs that may not copy from the host while they run hold them."""

    luminance: Tensor
    """Weights of red, green and blue, (1, 3, 1, 1)."""
    gradients: Tensor
    """Sobel filters along x and y, (2, 1, 3, 3)."""


def edge_filters(like: Tensor) -> EdgeFilters:
    """The filters of `image_edges` in the type and on the device of `like`."""
    smooth, difference = like.new_tensor([0.25, 0.5, 0.25]), like.new_tensor([-1.0, 0.0, 1.0])
    gradients = torch.stack([torch.outer(smooth, difference), torch.outer(difference, smooth)]).unsqueeze(1)
    return EdgeFilters(like.new_tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1), gradients)


def image_edges(images: Tensor, filters: EdgeFilters | None = None) -> Tensor:
    """Luminance and its gradients at stride 4, (B, 3, H/4, W/4), of RGB in [0, 1], (B, 3, H, W).

    Channels: mean luminance, mean and largest gradient magnitude (Sobel on the 2x2 mean), by fixed filters.
    """
    weights, kernels = filters or edge_filters(images)
    luminance = functional.avg_pool2d(functional.conv2d(images, weights), 2)
    gradients = functional.conv2d(functional.pad(luminance, (1, 1, 1, 1), mode="replicate"), kernels)
    magnitude = (gradients.square().sum(dim=1, keepdim=True) + 1e-8).sqrt()
    return torch.cat(
        [functional.avg_pool2d(luminance, 2), functional.avg_pool2d(magnitude, 2), functional.max_pool2d(magnitude, 2)],
        dim=1,
    )
