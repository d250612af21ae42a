"""How a checkpoint's tags do on synthetic videos that nobody trains on: the numbers of its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clip_rl_perception.metrics.tag_evaluator import TagEvaluator
from clip_rl_perception.metrics.tag_measures import measure_tags
from clip_rl_perception.runs.scene_tags import content_pixels, scene_tags
from clip_rl_perception.stream import StreamRunner, load
from clip_rl_perception.stream_options import ModelOptions

from clip_rl_training.synthetic.frame_tags import tag_truth_of
from clip_rl_training.synthetic.operation import SyntheticOperation, sequence_scene, typed_videos
from clip_rl_training.synthetic.write_video import sequence_seed

SEED, FRAMES = 7000, 60
"""Of the videos, as `clip-rl synth frames` takes them: `clip-rl eval --video` on those gives the same numbers."""


def score_tags(checkpoint: Path, videos: int, *, frames: int = FRAMES) -> dict[str, Any]:
    """Run a checkpoint over videos of 640x512 px at 25 Hz, as a stream on the engine torch.

    Args:
        checkpoint: the file.
        videos: how many.
        frames: of each.

    Returns:
        `TagEvaluator.report`, with videos, and seed and frames of them as `clip-rl synth frames` takes them.
    """
    config, evaluator = typed_videos(512, 640), TagEvaluator(video=True)
    model = load(ModelOptions(model=str(checkpoint), engine="torch"))
    try:
        runner = StreamRunner(model)
        for video in range(videos):
            runner.reset()
            scenes = SyntheticOperation(sequence_scene(config, video), sequence_seed(SEED, video), frames)
            for index, frame in enumerate(scenes):
                stamp_s = (video * frames + index) / config.rate
                scene, _ = runner.process(frame.rgb, round(stamp_s * 1e9))
                measures = measure_tags(
                    scene_tags(scene, model.space, tentative=False),
                    tag_truth_of(frame),
                    content_area=content_pixels(scene.label_map),
                    stamp_s=stamp_s,
                )
                evaluator.add(measures, sequence=str(video))
    finally:
        model.close()
    return {**evaluator.report(), "videos": videos, "seed": SEED, "frames_each": frames}
