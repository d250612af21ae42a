"""One run of the benchmark: what was asked for, and what its parts share."""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.bench.bench_frames import COUNT, SIZE, back_and_forth, load_frames, rendered
from clip_rl_perception.cli_types import CheckpointName, Count, HeightByWidth
from clip_rl_perception.options import Option

if TYPE_CHECKING:
    from clip_rl_perception.model.checkpoint import Checkpoint

STAGES = ("preprocess", "network", "refine", "postprocess", "tags")
"""Of the pipeline, in the order that a frame meets them."""
ENCODERS = ("mobileclip2_s0", "rn50", "vit_b16")
"""Presets of `model.segmenter_config` that are measured by default."""
PEERS = ("unet-resnet18", "segformer-b0", "deeplabv3plus-mobilenet")
"""Peers that are measured by default."""
GPU_BACKENDS = ("cuda", "tensorrt")
"""Where the first engine runs on a GPU, plain torch does so too."""
RECORDING_S = 4.0
"""Length of the synthetic operation that is replayed or played to the node, s."""


@dataclasses.dataclass(frozen=True)
class BenchOptions:
    """What to measure, and how long."""

    out: Path = Path("out/bench")
    """Output folder."""
    source: Path | None = None
    """Video, folder or bag; None: a synthetic operation, 1280x1024."""
    model: CheckpointName = "demo"
    """Checkpoint: shipped name, path, or the folder of a training run."""
    size: HeightByWidth | None = None
    """Network input HxW; None: the checkpoint's."""
    backends: Annotated[tuple[str, ...], Option(nargs="+", metavar="BACKEND[:PRECISION]")] = (
        "openvino",
        "openvino:fp32",
        "torch",
    )
    """openvino, torch, cuda, tensorrt; peers meet the first."""
    classes: Annotated[tuple[int, ...], Option(nargs="*")] = (12, 50)
    """Further numbers of classes."""
    peers: Annotated[tuple[str, ...], Option(nargs="*")] = PEERS
    """Names, none for no peers (default: three)."""
    encoders: Annotated[tuple[str, ...], Option(nargs="*")] = ENCODERS
    """Presets with random weights (default: three)."""
    rounds: Count = 60
    """Timed frames of each candidate; a quarter of them with encoders, a twentieth where a round is a recording."""
    rates: Annotated[tuple[float, ...], Option(nargs="+")] = (10.0, 30.0, 60.0)
    """Of the node's camera, Hz."""
    cameras: Annotated[tuple[int, ...], Option(nargs="+")] = (1, 2)
    """Of the node part, each with a node of its own."""
    transports: Annotated[tuple[Literal["raw", "compressed"], ...], Option(nargs="+")] = ("raw", "compressed")
    """Of the node part."""
    seconds: float = 5.0
    """Of each rate of the node part."""
    peak_probes: int = 3
    """Rates tried to find the peak."""
    engine: str = "auto"
    """Of the node and of replays (default: the one that is measured)."""
    quick: bool = False
    """A few small frames: a test of the benchmark, no result."""


class BenchRun:
    """What parts measure with."""

    def __init__(self, options: BenchOptions) -> None:
        """Load the frames, or render them; see `load_frames` for what it raises."""
        self.options, self.out = options, options.out
        self.frame_size = (320, 256) if options.quick else SIZE
        count = 4 if options.quick else COUNT
        self.frames = load_frames(options.source, options.out, count=count, size=self.frame_size)

    @functools.cached_property
    def checkpoint(self) -> Checkpoint:
        """The model, loaded when a part first asks for it: torch takes seconds."""
        from clip_rl_perception.model.checkpoint import open_checkpoint, resolve_checkpoint

        return open_checkpoint(resolve_checkpoint(self.options.model, self.log))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the network input."""
        return self.options.size or self.checkpoint.config.input_size

    @property
    def film(self) -> tuple[ByteArray, ...]:
        """The frames in an order that can be repeated without a jump."""
        return back_and_forth(self.frames.frames)

    @property
    def device(self) -> str:
        """``cuda`` or ``cpu``: where the first backend runs."""
        return "cuda" if self.options.backends[0].partition(":")[0] in GPU_BACKENDS else "cpu"

    @property
    def long_rounds(self) -> int:
        """Rounds of parts whose round is a recording from end to end: 3 by default."""
        return max(1, self.options.rounds // 20)

    def recording(self) -> Path:
        """What is replayed, or played to the node: the source, or a longer synthetic operation with its truth."""
        if self.options.source is not None:
            return self.options.source
        return rendered(self.options.out / "recording", self.frame_size, 1.0 if self.options.quick else RECORDING_S)

    @staticmethod
    def log(line: str) -> None:
        """Tell what is being done."""
        print(line, file=sys.stderr, flush=True)
