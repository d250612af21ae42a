"""The options of `clip-rl replay`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from clip_rl_perception.cli_types import PositiveNumber
from clip_rl_perception.engine.tta import VIEWS
from clip_rl_perception.options import Option, Positional


@dataclasses.dataclass(frozen=True)
class Online:
    """Through the real node, over DDS (needs ROS 2)."""

    online: bool = False
    """Play the recording to the node at its own rate, and judge."""
    speed: PositiveNumber = 1.0
    """Times the recording's own rate."""
    lockstep: bool = False
    """Send a frame when the node has answered the one before."""
    seconds: PositiveNumber | None = None
    """Play only so much of the recording."""
    transport: Literal["raw", "compressed"] | None = None
    """Of videos and folders; None: raw."""
    confidence: bool = False
    """Judge the confidence too; the node then computes it."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What is replayed, how, and what is told of it."""

    input: Annotated[tuple[Path, ...], Positional()]
    """Rosbag2, video or folder of images; each is a sequence."""
    topic: tuple[str, ...] = ()
    """Image topic of the bag; may be given again (all)."""
    labels: Annotated[Path | None, Option(metavar="DIR")] = None
    """Folder of ground-truth masks."""
    label_topic: str | None = None
    """Topic of ground truth in the bag; None: labels beside the images."""
    label_map: Annotated[Path | None, Option(metavar="YAML")] = None
    """How truth is stored and merged, as clip-rl eval."""
    truth: bool = True
    """Read labels from the bag; False: leave labels in the bag alone."""
    rate: PositiveNumber | None = None
    """Frames per second of videos and folders; None: their own."""
    model: str = "demo"
    """Checkpoint: shipped name or path."""
    engine: str = "auto"
    """auto, torch or an engine directory."""
    classes: Annotated[str | None, Option(metavar="SPACE")] = None
    """Label space whose prompts replace the model's classes."""
    threads: int | None = None
    """CPU threads of the engine; None: its own choice."""
    refine_steps: int | None = None
    """Most refinement steps per frame; None: the model's."""
    views: Annotated[int, Option(choices=VIEWS)] = 1
    """Average over this many mirror images."""
    previous_frame: bool = True
    """The refiner may recall the previous result; False: the refiner recalls no previous result."""
    novelty: bool = True
    """Tell of frames out of distribution; False: never call a frame out of distribution."""
    frames: Annotated[int | None, Option(metavar="N")] = None
    """End after N frames."""
    tau: float = 10.0
    """Tolerance of the NSD, px."""
    boundary: bool = True
    """Measure NSD and HD95; False: measure no NSD and HD95."""
    temporal: bool = True
    """Measure the change from frame to frame; False: measure no consistency from frame to frame."""
    out: Path = Path("out/replay")
    """Output folder."""
    bag: bool = True
    """Write an output bag; False: write no output bag."""
    video: bool = True
    """Write an overlay video; False: write no overlay video."""
    require: Annotated[str | None, Option(metavar="LIST")] = None
    """For example "miou>=0.7,p99_ms<=80": exit status 1 if not met."""
    same_frames_as: Annotated[Path | None, Option(metavar="JSON")] = None
    """Only frames that gave a mask in that report, by their stamp."""
    node: Online = dataclasses.field(default_factory=Online)
    view: bool = False
    """Show every frame on a live page in a browser (rerun-sdk)."""
    view_port: int = 9090
    """TCP port of the page; the next one carries data."""
