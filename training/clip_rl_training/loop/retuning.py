"""A network changed by a few numbers of its configuration before anything is learned."""

from __future__ import annotations

from clip_rl_perception.model.segmenter import ClipRlSegmenter

from clip_rl_training.loop.input_filters import sharpen_, strengthen_colours_
from clip_rl_training.loop.norm_gains import apply_gains_
from clip_rl_training.loop.training_config import TrainConfig


def retune_(segmenter: ClipRlSegmenter, config: TrainConfig) -> str:
    """Apply `saturation`, then `sharpness`, then `gains`, in place; what is to be added to what the weights are.

    Raises:
        TrainError: this network cannot take them in; says which and why.
    """
    if config.saturation != 1.0:
        strengthen_colours_(segmenter, config.saturation)
    if config.sharpness != 0.0:
        sharpen_(segmenter, config.sharpness)
    apply_gains_(segmenter, config.gains)
    return ", retuned" if config.retuned else ""
