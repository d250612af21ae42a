"""Independent stills for training."""

from __future__ import annotations

import numpy as np

from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame
from clip_rl_training.synthetic.scene import render_scene
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.scene_state import sample_scene


def render_still(rng: np.random.Generator, config: SceneConfig) -> SyntheticFrame:
    """One scene of its own; the same state of `rng` and the same config give the same bytes."""
    state = sample_scene(rng, config, moving=False)
    return render_scene(state, config, 0.0, int(rng.integers(1 << 31)))
