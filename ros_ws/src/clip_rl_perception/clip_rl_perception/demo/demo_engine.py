"""The network compiled for this machine before the node starts: the demo shows the speed that a robot would see."""

from __future__ import annotations

import importlib.util

from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.progress import Stage


def can_compile(engine: str) -> bool:
    """Whether engine ``auto`` can be had compiled here: OpenVINO is installed."""
    return engine == "auto" and importlib.util.find_spec("openvino") is not None


def compile_network(model: str, stage: Stage) -> None:
    """Build the engine that ``auto`` finds, unless it is there; where that fails, torch runs and the stage says so.

    Raises:
        CheckpointError: `model` cannot be loaded.
        SourceError: the golden frames cannot be read.
    """
    # Imported here: torch takes seconds, and the demo's own checks come first.
    from clip_rl_perception.engine.build import build_engine
    from clip_rl_perception.engine.load import default_engine_dir, open_engine
    from clip_rl_perception.model.checkpoint import open_checkpoint
    from clip_rl_perception.sources.golden_frames import golden_images

    checkpoint = open_checkpoint(model)
    size = checkpoint.config.input_size
    directory = default_engine_dir(checkpoint.model_id, size)
    try:
        if directory.is_dir():
            try:
                open_engine(directory, checkpoint).close()
                stage.result("compiled before")
                return
            except EngineError:
                stage.update(0, note="the engine of an earlier run is not for this set-up; building again")
        build_engine(
            checkpoint,
            "openvino",
            directory,
            images=golden_images(size),
            progress=lambda line: stage.update(0, note=line.strip()),
        )
        stage.result(str(directory))
    except EngineError as error:
        stage.result(f"not compiled, torch runs instead: {error}")
