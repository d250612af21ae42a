"""The shipped pipeline as a predictor: checkpoint, engine and scene exactly as in the ROS node."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.load import load_engine
from clip_rl_perception.labels import LabelSpace, load_label_space
from clip_rl_perception.model.checkpoint import Checkpoint, load_checkpoint
from clip_rl_perception.pipeline import PerceptionPipeline, PipelineConfig, SceneMemory

from clip_rl_training.evaluating.evaluation_loop import Prediction
from clip_rl_training.naming.synonyms import Synonyms, renamed

DEFAULT_RATE = 25.0
"""Frames per second of video whose frames carry no stamps, Hz."""


class PipelinePredictor:
    """One model on one engine. Use it as a context manager: leaving it frees the engine."""

    def __init__(self, checkpoint: Checkpoint, pipeline: PerceptionPipeline, *, rate_hz: float = DEFAULT_RATE) -> None:
        """`rate_hz`: frames per second of video, which decides what the pipeline's memory may still recall."""
        self.checkpoint = checkpoint
        self.pipeline = pipeline
        self._period_ns = round(1e9 / rate_hz)
        self._memory: SceneMemory | None = None

    def __enter__(self) -> PipelinePredictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.pipeline.engine.close()

    @property
    def label_space(self) -> LabelSpace:
        """Classes in force."""
        return self.pipeline.label_space

    def predict(self, rgb: ByteArray, *, follows: bool) -> Prediction:
        """Segment a frame with its calibrated confidence; see `Predictor`. Raises `EngineError`."""
        memory = self._memory if follows else None
        stamp_ns = memory.stamp_ns + self._period_ns if memory is not None else 0
        scene, self._memory = self.pipeline.process(rgb, stamp_ns, memory, want_confidence=True)
        return Prediction(
            label_map=scene.label_map,
            confidence=scene.confidence,
            refine_steps=scene.refine_steps,
            milliseconds=scene.preprocess_ms
            + scene.network_ms
            + scene.refine_ms
            + scene.postprocess_ms
            + scene.tags_ms,
            validity=scene.validity.name.lower(),
        )

    def facts(self) -> dict[str, Any]:
        """Plain data for reports: model_id, engine, classes, refine_steps_limit, views."""
        return {
            "model_id": self.checkpoint.model_id,
            "engine": self.pipeline.engine.info.describe(),
            "classes_predicted": list(self.label_space.names),
            "refine_steps_limit": self.pipeline.config.refine_steps,
            "views": self.pipeline.config.views,
        }


def load_predictor(
    checkpoint: str,
    engine: str = "torch",
    *,
    classes: str | None = None,
    synonyms: Synonyms | None = None,
    refine_steps: int | None = None,
    views: int = 1,
    threads: int | None = None,
    rate_hz: float = DEFAULT_RATE,
) -> PipelinePredictor:
    """Load a checkpoint on an engine.

    Args:
        checkpoint: path, or the name of a shipped one.
        engine: torch, auto or an engine directory.
        classes: label space by name or file whose prompts replace the checkpoint's classes; None keeps them.
        synonyms: other names by class: their prompts replace those of the classes, which keep their names in reports.
        refine_steps: most refinement steps; None takes what the model was trained for.
        views: mirror images of every frame whose results are averaged: 1, 2 or 4.
        threads: CPU threads; None leaves the library's choice.
        rate_hz: frames per second of video.

    Raises:
        CheckpointError: missing or damaged.
        EngineError: no such engine, or not for this model and machine.
        LabelError: no such label space.
        ConfigError: a class without synonym.
    """
    space = load_label_space(classes) if classes else None
    loaded = load_checkpoint(checkpoint)
    if synonyms is not None:
        space = renamed(space or loaded.label_space, synonyms)
    running = load_engine(engine, loaded, threads=threads)
    config = PipelineConfig(refine_steps=refine_steps, views=views)
    pipeline = PerceptionPipeline.of_checkpoint(running, loaded, space, config)
    return PipelinePredictor(loaded, pipeline, rate_hz=rate_hz)
