"""Frames through a pipeline, one after the other."""

from __future__ import annotations

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.pipeline import PerceptionPipeline, SceneMemory
from clip_rl_perception.scene.types import Scene


def run(made: PerceptionPipeline, frames: list[ByteArray], every_ms: int = 40) -> list[Scene]:
    """Scenes of a stream that begins with the first frame."""
    memory: SceneMemory | None = None
    scenes = []
    for index, rgb in enumerate(frames):
        scene, memory = made.process(rgb, index * every_ms * 1_000_000, memory)
        scenes.append(scene)
    return scenes
