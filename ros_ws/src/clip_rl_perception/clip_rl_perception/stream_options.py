"""Which model a stream of frames runs through, and how: what the node, replay, eval and bench ask of `stream.load`."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Annotated

from clip_rl_perception.cli_types import CheckpointName, Count, NaturalNumber
from clip_rl_perception.looks.look import LOOKS_A_FRAME
from clip_rl_perception.options import NotAnOption, Option

if TYPE_CHECKING:
    from clip_rl_perception.pipeline import PipelineConfig


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Which model on which engine, and how the pipeline runs. The defaults are the node's."""

    model: CheckpointName = "demo"
    """Checkpoint: shipped name, path, or the folder of a training run."""
    engine: str = "auto"
    """auto, torch, cuda or an engine directory."""
    device: str | None = None
    """cpu, cuda or cuda:1, where torch runs; None: as the engine says."""
    classes: Annotated[str | None, Option(metavar="SPACE")] = None
    """Label space whose prompts replace the model's classes."""
    types: Annotated[str, Option(metavar="TYPES")] = ""
    """What instruments may be called, judged on close-ups: none, a label space, or texts with commas between them;
    empty: the model's own types."""
    input_size: Annotated[tuple[int, int] | None, NotAnOption(metavar="(height, width)", least=32)] = None
    """Network input (H, W); None takes the engine's own."""
    threads: Count | None = None
    """CPU threads of the engine; None: its own choice."""
    refine_steps: NaturalNumber | None = None
    """0: one plain look at each frame alone, without memory (T = 0); None or any other: looks in turn with memory."""
    latency_budget_ms: Annotated[float | None, NotAnOption(least=0)] = None
    """As the node's parameter, but None: no limit, 0: one look; with a budget masks depend on the machine's speed."""
    views: Annotated[int, Option(choices=LOOKS_A_FRAME)] = 1
    """Looks at each frame, mirror images in turn."""
    zoomed_looks: NaturalNumber = 1
    """Looks at each frame beside those, at single working ends and larger, for tips; 0: none."""
    use_previous_frame: Annotated[bool, Option("--no-previous-frame")] = True
    """Looks at earlier frames count where they fit; False: each frame alone, with `views` looks at it."""
    novelty_check: Annotated[bool, Option("--no-novelty")] = True
    """Call frames unlike those of training out of distribution; False: never call a frame out of distribution."""
    type_threshold: Annotated[float, NotAnOption(least=0, most=1)] = 0.5
    """Probability below which a type is "unknown"."""
    every_type: Annotated[bool, NotAnOption()] = False
    """Zoom in on every instrument, and name it by close-ups in all turns: for pictures that stand alone."""
    min_instrument_area: Annotated[float, NotAnOption(least=0, most=1)] = 0.0005
    """Smallest instrument that gets a tag, as a fraction of the content area."""
    keep_rate: Annotated[bool, NotAnOption()] = False
    """Leave zoomed looks out where the next frame would have to wait for them."""
    build_if_missing: Annotated[bool, NotAnOption()] = False
    """Build the engine with OpenVINO where there is none."""
    library_threads: Annotated[int | None, NotAnOption(least=0)] = None
    """Threads of OpenCV, and of torch where it is not the engine, in the whole process; None: their own choice."""

    def pipeline_config(self) -> PipelineConfig:
        """What the options ask of the pipeline."""
        # Imported here: commands read their options before torch, which takes seconds.
        from clip_rl_perception.looks.zoomed_turns import ZoomConfig
        from clip_rl_perception.naming.type_evidence import TypeConfig
        from clip_rl_perception.pipeline import PipelineConfig
        from clip_rl_perception.scene.instances import InstanceConfig
        from clip_rl_perception.scene.validity import ValidityConfig

        limits = ValidityConfig()
        if not self.novelty_check:
            limits = ValidityConfig(novelty_limit=math.inf, surgery_limit=0.0)
        return PipelineConfig(
            refine_steps=self.refine_steps,
            latency_budget_ms=self.latency_budget_ms,
            views=self.views,
            use_previous_frame=self.use_previous_frame,
            instruments=InstanceConfig(min_area=self.min_instrument_area),
            zoom=ZoomConfig(looks=self.zoomed_looks, keep_rate=self.keep_rate, every=self.every_type),
            types=TypeConfig(threshold=self.type_threshold, every=self.every_type),
            validity=limits,
        )


NODE_OPTIONS = (
    "type_threshold", "every_type", "min_instrument_area", "keep_rate", "build_if_missing", "library_threads",
)  # fmt: skip
"""Options that only the node sets: a report of a replay does not tell them."""
