"""Procedural endoscopic scenes with exact ground truth: stills and coherent videos."""

from __future__ import annotations

from clip_rl_training.synthetic.drawing.rendered_frame import TYPE_NAMES, SyntheticFrame
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.stills import render_still

__all__ = ["TYPE_NAMES", "SceneConfig", "SyntheticFrame", "render_still"]
