"""A coherent synthetic video: one scene whose camera, tissue, instruments and smoke move smoothly; one eye or two."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from clip_rl_perception.metrics.tag_measures import TrueSpace

from clip_rl_training.synthetic.drawing.eyes import Eye
from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame
from clip_rl_training.synthetic.instruments.depth import SHAFT_RADIUS_MM
from clip_rl_training.synthetic.scene import render_scene
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.scene_state import sample_scene
from clip_rl_training.synthetic.stereo import CONVERGING, Rig, eyes_of, focal_of, instruments_in_space

_SCENE, _FRAME, _RIGHT_FRAME = 0, 1, 2


class SyntheticOperation:
    """Frames of one scene at ``config.rate`` per second; iterating yields them in order.

    Every frame can be rendered on its own and in any order: frame `i` depends on (config, seed, i) alone, so workers
    that share a video give the same bytes as one.
    """

    def __init__(self, config: SceneConfig, seed: int, frames: int, rig: Rig = CONVERGING) -> None:
        """Draw the scene.

        Args:
            config: What scenes look like.
            seed: Any integer >= 0; names the video.
            frames: Length of the video.
            rig: What sees it; the left eye's frames do not depend on it.

        Raises:
            ValueError: a negative seed or a length below 1.
        """
        if seed < 0 or frames < 1:
            raise ValueError(f"seed {seed} and {frames} frames: the seed must be >= 0 and a video has at least 1 frame")
        self.config = config
        self.seed = seed
        self._frames = frames
        self._state = sample_scene(np.random.default_rng([seed, _SCENE]), config, moving=True)
        self.left, self.right = eyes_of(self._state, rig)
        """Both eyes of the rig."""

    def __len__(self) -> int:
        return self._frames

    def __iter__(self) -> Iterator[SyntheticFrame]:
        return (self.frame(index) for index in range(self._frames))

    def frame(self, index: int) -> SyntheticFrame:
        """Frame number `index`, 0 to len - 1; raises `IndexError` beyond."""
        return self._render(index, _FRAME, self.left)

    def right_frame(self, index: int) -> SyntheticFrame:
        """What the right eye of the rig sees at the time of `frame(index)`."""
        return self._render(index, _RIGHT_FRAME, self.right)

    def space_of(self, left: SyntheticFrame, right: SyntheticFrame) -> dict[int, TrueSpace]:
        """Where the instruments of a left frame are, by number, as its own right frame shows which points of them."""
        return instruments_in_space(self._state, self.right, left, right)

    def _render(self, index: int, noise: int, eye: Eye) -> SyntheticFrame:
        if not 0 <= index < self._frames:
            raise IndexError(f"frame {index} of a video of {self._frames} frames")
        return render_scene(self._state, self.config, index / self.config.rate, [self.seed, noise, index], eye)


def sequence_scene(config: SceneConfig, sequence: int) -> SceneConfig:
    """The configuration of video number `sequence`, from 0, of a set: colour first, and every so often one in gray.

    Of the first n videos, n times `grayscale` are gray, rounded down: no luck decides what a small set looks like, and
    a set can be continued.
    """
    gray = int((sequence + 1) * config.grayscale) > int(sequence * config.grayscale)
    return dataclasses.replace(config, grayscale=float(gray))


def typed_videos(height: int, width: int, rate: float = 25.0) -> SceneConfig:
    """The configuration of sets of videos to measure on: instruments of the seven types alone."""
    return SceneConfig(height=height, width=width, rate=rate, laparoscopic=0.0)


def showcase(height: int, width: int, rate: float) -> SceneConfig:
    """The configuration of demonstration videos: colour, two or three visible instruments, mild disturbances."""
    return dataclasses.replace(
        SceneConfig(height=height, width=width, rate=rate),
        instrument_counts=(0.0, 0.0, 0.7, 0.3),
        laparoscopic=0.0,
        radius=(0.04, 0.09),
        backgrounds=("peritoneum", "bowel", "covered kidney", "fat"),
        pale=0.0,
        colour_cast=0.03,
        unusual_colour=0.0,
        grayscale=0.0,
        overlay=0.0,
        content_shapes=(0.5, 0.5, 0.0, 0.0),
        occlusion=0.0,
        folds=0.0,
        fingers=0.0,
        motion_blur=0.0,
        defocus=0.0,
        interlace=0.0,
        compression=0.0,
    )


def stereo_videos(height: int, width: int, rate: float, nearest_mm: float, farthest_mm: float) -> SceneConfig:
    """The configuration of stereo videos to measure on: ends of shafts lie in a range of depths, mm, at rest.

    Raises:
        ValueError: a shaft would be wider than the picture.
    """
    radius = [focal_of(width) * SHAFT_RADIUS_MM / depth / min(height, width) for depth in (farthest_mm, nearest_mm)]
    if radius[1] > 0.5:
        raise ValueError(
            f"a shaft {nearest_mm:g} mm away is wider than a picture of {width}x{height} is high or wide; "
            "expected farther instruments or a larger picture"
        )
    return dataclasses.replace(typed_videos(height, width, rate), radius=(radius[0], radius[1]))
