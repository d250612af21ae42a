"""The model of a replay: checkpoint, verified engine, pipeline, and what a report must say about them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from clip_rl_perception.engine.load import default_engine_dir, load_engine
from clip_rl_perception.engine.manifest import MANIFEST_FILE, sha256_of
from clip_rl_perception.labels import LabelSpace, load_label_space
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.pipeline import PerceptionPipeline, PipelineConfig
from clip_rl_perception.scene.validity import ValidityConfig


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Which model on which engine, and how the pipeline runs. The defaults are the node's."""

    model: str = "demo"
    """Checkpoint: a shipped name or a path."""
    engine: str = "auto"
    """auto, torch, or an engine directory."""
    classes: str | None = None
    """Label space by name or file whose prompts replace the checkpoint's classes; None keeps them."""
    input_size: tuple[int, int] | None = None
    """Network input (H, W); None takes the engine's own."""
    threads: int | None = None
    """CPU threads of the engine; None: its own choice."""
    refine_steps: int | None = None
    """Most refinement steps; None: what the model was trained for."""
    latency_budget_ms: float | None = None
    """As the node's parameter; with a budget the masks depend on the machine's speed."""
    views: int = 1
    """Mirror images whose results are averaged: 1, 2 or 4."""
    use_previous_frame: bool = True
    """The refiner may recall the previous frame's result."""
    novelty_check: bool = True
    """False: report novelty, but never out_of_distribution."""

    def pipeline_config(self) -> PipelineConfig:
        """What the options ask of the pipeline."""
        return PipelineConfig(
            refine_steps=self.refine_steps,
            latency_budget_ms=self.latency_budget_ms,
            views=self.views,
            use_previous_frame=self.use_previous_frame,
            validity=ValidityConfig(novelty_limit=1.0 if self.novelty_check else math.inf),
        )


class ReplayModel:
    """A loaded and warm model; use it as a context manager, leaving it frees the engine."""

    def __init__(
        self,
        pipeline: PerceptionPipeline,
        *,
        model_id: str,
        manifest: dict[str, Any] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> None:
        """Join a pipeline with its identity; `load_model` makes both."""
        self.pipeline = pipeline
        self.model_id = model_id
        self.manifest = manifest
        self.parameters = parameters or {}

    def __enter__(self) -> ReplayModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.pipeline.engine.close()

    @property
    def space(self) -> LabelSpace:
        """Classes of the masks."""
        return self.pipeline.label_space

    @property
    def engine_name(self) -> str:
        """Backend, precision and network size."""
        return self.pipeline.engine.info.describe()


def load_model(options: ModelOptions, log: Callable[[str], None] = lambda line: None) -> ReplayModel:
    """Load, verify and warm up.

    Raises:
        CheckpointError: missing or damaged.
        EngineError: no such engine, or not for this model and machine.
        LabelError: no such label space.
    """
    space = load_label_space(options.classes) if options.classes else None
    checkpoint = load_checkpoint(options.model)
    engine = load_engine(options.engine, checkpoint, input_size=options.input_size, threads=options.threads, log=log)
    pipeline = PerceptionPipeline.of_checkpoint(engine, checkpoint, space, options.pipeline_config())
    pipeline.warm_up()
    manifest = None
    if engine.info.backend != "torch":
        named = Path(options.engine)
        size = options.input_size or checkpoint.segmenter.config.input_size
        manifest = _manifest(default_engine_dir(checkpoint.model_id, size) if options.engine == "auto" else named)
    parameters = dataclasses.asdict(options) | {"weights_sha256": sha256_of(checkpoint.path)}
    return ReplayModel(pipeline, model_id=checkpoint.model_id, manifest=manifest, parameters=parameters)


def _manifest(directory: Path) -> dict[str, Any] | None:
    try:
        data = json.loads((directory / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
