"""Procedural endoscopic scenes with exact ground truth: stills, short clips and coherent videos."""

from __future__ import annotations

from clip_rl_training.synthetic.drawing.rendered_frame import TYPE_NAMES, SyntheticFrame
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.stills import random_clip, render_still

__all__ = ["TYPE_NAMES", "SceneConfig", "SyntheticFrame", "random_clip", "render_still"]
