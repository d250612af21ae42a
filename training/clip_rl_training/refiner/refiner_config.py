"""How the refiner is trained: read before torch is, so that mistakes are told at once."""

from __future__ import annotations

import dataclasses
from typing import Literal

RefinerMode = Literal["rl", "supervised", "random", "none"]
"""How the refiner is trained."""


@dataclasses.dataclass(frozen=True)
class ReinforceConfig:
    """The actor-critic, and which way the refiner is trained at all."""

    mode: RefinerMode = "rl"
    """``rl``: reinforcement; ``supervised``: cross-entropy through the T steps; ``random``: uniform actions, never
    trained; ``none``: no refiner. The last three are the controls."""
    discount: float = 0.95
    """gamma."""
    gae: float = 0.9
    """lambda of the generalised advantage estimate: 0 trusts the value head, 1 the sampled rewards."""
    value_weight: float = 0.5
    """Weight of the value head's error."""
    normalise: bool = True
    """Divide advantages by their standard deviation over the batch."""
    all_actions: bool = False
    """Work out what every action would gain at once instead of sampling it; rewards shared by pixels (`boundary`) are
    not told apart by action and still come from the sampled one."""
    image_baseline: bool = False
    """Subtract each image's mean advantage per step: an image-level baseline."""
    kl_weight: float = 0.0
    """Weight of KL(policy || reference policy); the reference is the refiner as it was when its training began."""
    reward_scale: float = 5.0
    """Factor on rewards, so that values are of the order of 1."""
    absent_previous: float = 0.5
    """Share of images that have no previous frame in training."""


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """Weights of the gains; the reward is their weighted sum, less the price of acting."""

    log_probability: float = 0.2
    """Per-pixel gain in log p(truth), nats."""
    iou: float = 0.0
    """Gain in soft mIoU, credited to pixels by `iou_credit`; confidence counts, so sharpening what is right pays."""
    hard_iou: float = 1.0
    """Gain in the mIoU of the chosen classes, credited likewise: what is measured, and not differentiable."""
    boundary: float = 0.0
    """Gain in boundary F-score, shared by all pixels of the image near a boundary of truth or prediction."""
    boundary_tolerance: int = 1
    """Distance in stride-4 pixels within which boundaries agree, and the width of the band that shares the reward."""
    log_floor: float = -4.0
    """log p(truth) is cut off below here, nats: a pixel that is surely wrong must not dominate the batch."""
    cost: float = 0.0
    """Price of every action that is not "keep", so that the policy stops when it gains nothing."""
    limit: float = 2.0
    """Rewards are cut off at plus and minus this: a pixel of a tiny class can move the mIoU more than many others."""


@dataclasses.dataclass(frozen=True)
class DamageConfig:
    """Strengths at severity 1."""

    feature_dropout: float = 0.3
    """Largest share of feature channels that are dropped on the way to the damaged decoding."""
    patches: float = 0.8
    """Probability that an image gets patches of a wrong class."""
    patch_share: float = 0.12
    """Largest share of the image under wrong patches."""
    noise: float = 1.5
    """Largest standard deviation of the smooth noise on logits, nats."""
    shift: int = 2
    """Largest displacement of the log-probabilities against the image, stride-4 pixels."""
    flatten: float = 0.6
    """Largest loss of confidence: log-probabilities are multiplied by 1 - flatten * u, u uniform in 0..1."""
    clean: float = 0.3
    """Probability that an image is left as it is."""
