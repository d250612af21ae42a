"""What the scene floor passes around: geometry of a frame, instruments, the memory between frames, the scene itself.

Coordinates: x to the right, y down, origin at the centre of the top-left pixel of the full-size frame, pixels.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from clip_rl_perception.arrays import ByteArray, FloatArray


class Validity(enum.IntEnum):
    """How far the outputs of a frame can be used; values equal those of clip_rl_interfaces/SceneStatus."""

    OK = 0
    DEGRADED = 1
    STALE = 2
    OUT_OF_BODY = 3
    OUT_OF_DISTRIBUTION = 4
    INVALID_INPUT = 5


@dataclasses.dataclass(frozen=True)
class Box:
    """Axis-aligned box in full-size pixels: columns x..x+width-1, rows y..y+height-1."""

    x: int
    y: int
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class ContentArea:
    """Where a frame shows the patient: `crop`, cut by `circle` where one is given, else with its corners rounded."""

    crop: Box
    """Bounding box of the content inside the frame."""
    circle: tuple[float, float, float] | None = None
    """(cx, cy, radius) in full-size pixels: content is the part of `crop` inside; None for rectangles."""
    corner_radius: float = 0.0
    """Radius of the crop's rounded corners, px; 0 for sharp corners; ignored where `circle` is given."""


@dataclasses.dataclass(frozen=True)
class Letterbox:
    """How the network sees a frame: the content area cropped, scaled with its aspect ratio kept, padded to the input.

    A frame pixel (x, y) inside `crop` lies at network pixel
    ``((x - crop.x + 0.5) * scale - 0.5 + pad_x, (y - crop.y + 0.5) * scale - 0.5 + pad_y)``.
    """

    frame_size: tuple[int, int]
    """(height, width) of the full-size frame."""
    network_size: tuple[int, int]
    """(H, W) of the network input."""
    crop: Box
    """Content area in the frame: what is shown to the network."""
    scale: float
    """Network pixels per frame pixel."""
    pad_x: int
    """Columns of padding left of the image in the network input."""
    pad_y: int
    """Rows of padding above the image in the network input."""
    circle: tuple[float, float, float] | None = None
    """As in `ContentArea`: pixels of the crop outside it are unlabelled."""
    corner_radius: float = 0.0
    """As in `ContentArea`."""


@dataclasses.dataclass(frozen=True)
class Keypoint:
    """A named point of an instrument, (x, y) px."""

    name: str
    """One of `KEYPOINTS`."""
    x: float
    y: float
    confidence: float
    """0 to 1: how sure its place is."""
    visible: bool
    """False: covered by something, or outside the picture."""


KEYPOINTS = ("entry", "wrist", "tip_1", "tip_2")
"""Where the axis of the shaft crosses the border of the content, where the shaft ends, the ends of the jaws; an
instrument without jaws has one tip."""


@dataclasses.dataclass(frozen=True)
class Instrument:
    """One instrument seen in one frame; fields as in clip_rl_interfaces/InstrumentTag."""

    class_id: int
    confidence: float
    box: Box
    tip: tuple[float, float]
    """Working end, (x, y) px."""
    axis: tuple[float, float]
    """Unit vector from the entry at the border towards the tip."""
    area: float
    """Visible pixels, px^2."""
    touches_border: bool
    visibility: float = 1.0
    """Visible area over the largest of this track in the last second."""
    track_id: int = 0
    """0 until tracked."""
    age: int = 0
    """Frames since the track began."""
    velocity: tuple[float, float] = (0.0, 0.0)
    """Of the tip, px/s; 0 where it is not known."""
    keypoints: tuple[Keypoint, ...] = ()
    """In the order of `KEYPOINTS`; those that the engine does not tell are left out."""
    type_name: str = ""
    """What kind of instrument it is; "unknown" where no type is likely enough, empty where none was looked for."""
    type_probability: float = 0.0
    """Calibrated probability of `type_name`, of the likeliest type where that is "unknown"."""
    confirmed: bool = True
    """False: seen too shortly to count as an instrument."""
    unseen_s: float = 0.0
    """Time since the track was last seen before this frame, s of stamps; 0 in its first frame."""
    footprint: ByteArray | None = dataclasses.field(default=None, repr=False, compare=False)
    """Mask of this instrument on the stride-4 grid, uint8 0/1, (h, w); kept for association with the next frame."""


@dataclasses.dataclass(frozen=True)
class Basis:
    """What a frame's result rests on; fields as in clip_rl_interfaces/SceneStatus. Means over the content area."""

    looks: tuple[str, ...] = ()
    """Names of the looks at the frame itself, in the order in which they were taken."""
    memory_share: float = 0.0
    """Share of the belief that comes from looks at earlier frames, 0 to 1."""
    memory_age_ms: float = 0.0
    """Mean age of those, each as much as it counts, ms of stamps; 0 where there are none."""
    disagreement: float | None = None
    """How much looks disagree, bits: 0 all say the same, 1 two are sure of different classes; None for one alone."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """Everything known about one frame. Arrays at full size are uint8 (height, width)."""

    label_map: ByteArray
    """Class ids at full size; 255 outside the content area."""
    confidence: ByteArray | None
    """Calibrated probability of the chosen class x 255; None unless asked for; 0 outside the content area."""
    instruments: tuple[Instrument, ...]
    """Ordered by track id."""
    validity: Validity
    reason: str
    """Empty when OK."""
    novelty: float
    """Above 1 is out of distribution; NaN if unknown."""
    view: Letterbox
    refined: FloatArray
    """Log-probabilities on the stride-4 grid as the looks so far give them, (K, h, w)."""
    stage_ms: Mapping[str, float]
    """Time by stage, ms, as SceneStatus names them: preprocess, network, refine, postprocess, tags."""
    basis: Basis
    """What all this rests on."""
    disagreement: FloatArray
    """How much looks disagree, as of `Basis`, on the grid of `refined`, (h, w); 0 where one look stands alone."""
