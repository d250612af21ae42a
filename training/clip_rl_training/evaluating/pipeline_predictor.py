"""The shipped pipeline as a predictor: checkpoint, engine and scene exactly as in the ROS node."""

from __future__ import annotations

from typing import Any

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.stream import LoadedModel, StreamRunner, load
from clip_rl_perception.stream_options import ModelOptions

from clip_rl_training.evaluating.evaluation_loop import Prediction
from clip_rl_training.naming.synonyms import Synonyms, renamed

DEFAULT_RATE = 25.0
"""Frames per second of video whose frames carry no stamps, Hz."""


class PipelinePredictor:
    """One model on one engine. Use it as a context manager: leaving it frees the engine."""

    def __init__(self, model: LoadedModel, *, rate_hz: float = DEFAULT_RATE) -> None:
        """`rate_hz`: frames per second of video, which decides what the pipeline's memory may still recall."""
        self._model = model
        self._runner = StreamRunner(model)
        self._period_ns = round(1e9 / rate_hz)
        self._stamp_ns = 0

    def __enter__(self) -> PipelinePredictor:
        return self

    def __exit__(self, *_: object) -> None:
        self._model.close()

    @property
    def label_space(self) -> LabelSpace:
        """Classes in force."""
        return self._model.space

    def predict(self, rgb: ByteArray, *, follows: bool) -> Prediction:
        """Segment a frame with its calibrated confidence; see `Predictor`. Raises `EngineError`."""
        if not follows:
            self._runner.reset()
        self._stamp_ns += self._period_ns
        scene, _ = self._runner.process(rgb, self._stamp_ns, want_confidence=True)
        return Prediction(
            label_map=scene.label_map,
            confidence=scene.confidence,
            milliseconds=sum(scene.stage_ms.values()),
            basis=scene.basis,
            validity=scene.validity.name.lower(),
            scene=scene,
        )

    def looking_plainly(self) -> PipelinePredictor:
        """The same model, one plain look at each frame alone; it is freed with this one, not by itself."""
        return PipelinePredictor(self._model.looking_plainly(), rate_hz=1e9 / self._period_ns)

    def facts(self) -> dict[str, Any]:
        """Plain data for reports: model_id, engine, classes, views."""
        return {
            "model_id": self._model.model_id,
            "engine": self._model.engine_name,
            "classes_predicted": list(self.label_space.names),
            "views": self._model.pipeline.config.views,
        }


def load_predictor(
    options: ModelOptions, *, synonyms: Synonyms | None = None, rate_hz: float = DEFAULT_RATE
) -> PipelinePredictor:
    """Load a checkpoint on an engine.

    Args:
        options: which model, engine and classes.
        synonyms: other names by class: their prompts replace those of the classes, which keep their names in reports.
        rate_hz: frames per second of video.

    Raises:
        CheckpointError, EngineError, LabelError: as `load` does.
        ConfigError: a class without synonym.
    """
    model = load(options)
    if synonyms is not None:
        model.use_classes(renamed(model.space, synonyms))
    return PipelinePredictor(model, rate_hz=rate_hz)
