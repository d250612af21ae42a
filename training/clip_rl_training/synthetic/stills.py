"""Independent stills and two-frame clips for training."""

from __future__ import annotations

import numpy as np

from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame
from clip_rl_training.synthetic.scene import render_scene, sample_scene
from clip_rl_training.synthetic.scene_config import SceneConfig


def render_still(rng: np.random.Generator, config: SceneConfig) -> SyntheticFrame:
    """One scene of its own; the same state of `rng` and the same config give the same bytes."""
    state = sample_scene(rng, config, moving=False)
    return render_scene(state, config, 0.0, int(rng.integers(1 << 31)))


def random_clip(rng: np.random.Generator, config: SceneConfig) -> tuple[SyntheticFrame, SyntheticFrame]:
    """Two frames of one scene, a video step (1 / config.rate) apart: the previous one and the present one."""
    state = sample_scene(rng, config, moving=True)
    start = float(rng.uniform(0, 10))
    seeds = rng.integers(1 << 31, size=2)
    return render_scene(state, config, start, int(seeds[0])), render_scene(
        state, config, start + 1.0 / config.rate, int(seeds[1])
    )
