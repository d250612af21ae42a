"""Scenes of networks without a pipeline: their instruments as the pipeline finds and follows those of any network."""

from __future__ import annotations

import math

import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.scene.instruments import find_instruments
from clip_rl_perception.scene.label_map import grid_winners
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.scene.tracks import TrackMemory, track_instruments
from clip_rl_perception.scene.types import Basis, Scene, Validity

from clip_rl_training.evaluating.pipeline_predictor import DEFAULT_RATE


class NetworkScenes:
    """One stream of scenes; frames have the network's size."""

    def __init__(self, space: LabelSpace) -> None:
        self._space = space
        self._memory, self._stamp_ns = TrackMemory(), 0

    def scene(self, log_probs: FloatArray, label_map: ByteArray, *, follows: bool) -> Scene:
        """The scene of the next frame.

        Args:
            log_probs: at stride 4, float32 (K, H/4, W/4).
            label_map: uint8 (H, W).
            follows: it follows the last frame; else tracks begin anew.
        """
        self._stamp_ns += round(1e9 / DEFAULT_RATE)
        view = make_letterbox(label_map.shape, label_map.shape)
        found = find_instruments(grid_winners(log_probs), log_probs, label_map, view, self._space)
        memory = self._memory if follows else TrackMemory()
        tagged, self._memory = track_instruments(found, self._stamp_ns, view, memory)
        return Scene(
            label_map=label_map,
            confidence=None,
            instruments=tagged,
            validity=Validity.OK,
            reason="",
            novelty=math.nan,
            view=view,
            refined=log_probs,
            stage_ms={},
            basis=Basis(),
            disagreement=np.zeros(log_probs.shape[1:], np.float32),
        )
