"""What the node's parameters ask of model, engine and pipeline. No ROS here."""

from __future__ import annotations

from clip_rl_perception.nodes.parameters import NodeParameters
from clip_rl_perception.stream_options import ModelOptions


def model_options(parameters: NodeParameters) -> ModelOptions:
    """The options that `stream.load` takes; their pipeline's may change while frames are processed."""
    return ModelOptions(
        model=parameters.model,
        engine=parameters.engine,
        input_size=parameters.size(),
        types=parameters.types,
        type_threshold=parameters.type_threshold,
        threads=parameters.threads or None,
        refine_steps=None if parameters.refine_steps < 0 else parameters.refine_steps,
        latency_budget_ms=parameters.latency_budget_ms or None,
        views=parameters.views,
        zoomed_looks=parameters.zoomed_looks,
        keep_rate=True,
        use_previous_frame=parameters.use_previous_frame,
        novelty_check=parameters.novelty_check,
        min_instrument_area=parameters.min_instrument_area,
        build_if_missing=parameters.build_if_missing,
        # What OpenCV still does here is small; its threads would only take the cores from the network's.
        library_threads=1,
    )
