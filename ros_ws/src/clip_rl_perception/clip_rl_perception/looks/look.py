"""A look: what the network is shown of a frame, and the way back to the plain look's logit grid.

What a network learned of light, of sizes and of the sides that instruments come from, it learned on some pictures;
errors that depend on it differ from one look to the next and cancel in the mean (Krizhevsky et al. 2012, section 4.1).
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence

import cv2
import numpy as np

from clip_rl_perception.arrays import BoolArray, ByteArray, FloatArray
from clip_rl_perception.engine.protocol import Engine, EngineOutput, check_output
from clip_rl_perception.errors import named_line
from clip_rl_perception.instance_channels import ACROSS, DOWN
from clip_rl_perception.scene.letterbox import (
    STRIDE,
    frame_to_grid,
    grid_to_frame,
    inside_content,
    make_letterbox,
    shown_size,
    to_network,
)
from clip_rl_perception.scene.types import Box, ContentArea, Letterbox


@dataclasses.dataclass(frozen=True)
class Look:
    """A picture of a frame: the plain one, a mirror image, another light, or all or a part of it at another scale."""

    name: str
    """As status and reports call it."""
    down: int = 1
    """Step along rows: 1, or -1 for upside down."""
    across: int = 1
    """Step along columns: 1, or -1 for left and right exchanged."""
    gamma: float = 1.0
    """Exponent of the brightness: below 1 brighter, above 1 darker."""
    part: tuple[float, float, float, float] | None = None
    """Left, top, right and bottom of the part that is shown, as shares of the content area; None: all of it."""
    scale: float = 1.0
    """At which what is shown is drawn, as a share of the largest that fits, above 0; the rest is padding."""
    gray_world: bool = False
    """Give red, green and blue the same mean over what is shown (Buchsbaum 1980)."""

    def of(self, network_rgb: ByteArray, rgb: ByteArray | None = None, view: Letterbox | None = None) -> ByteArray:
        """What the network is shown, uint8 (H, W, 3), C-contiguous.

        Args:
            network_rgb: the plain look, uint8 (H, W, 3).
            rgb: the frame, uint8 (height, width, 3); needed for a part and another scale.
            view: of the plain look; needed for a part, another scale and a gray world.
        """
        shown = network_rgb
        if self._drawn:
            assert rgb is not None and view is not None, "a part or another scale is drawn from the frame"
            shown = to_network(rgb, self.view(view))
        if self.gray_world:
            assert view is not None, "padding does not count for a gray world"
            shown = _balanced(shown, self.view(view))
        shown = np.ascontiguousarray(shown[:: self.down, :: self.across])
        return shown if self.gamma == 1.0 else np.asarray(cv2.LUT(shown, _exposure(self.gamma)), np.uint8)

    @property
    def _drawn(self) -> bool:
        """Whether it lies otherwise in the network's input than the plain look."""
        return self.part is not None or self.scale != 1.0

    def view(self, view: Letterbox) -> Letterbox:
        """Where in the frame lies what is shown, before it is mirrored; `view` is the plain look's."""
        return _view_of(view, self.part, self.scale)

    def to_plain(self, maps: FloatArray, view: Letterbox | None = None) -> FloatArray:
        """Maps (K, h, w) of what was shown, on the plain look's grid; nodes that were not shown hold the nearest's."""
        turned = maps[:, :: self.down, :: self.across]
        if not self._drawn:
            return turned
        assert view is not None, "the way back from a part or another scale needs the view"
        matrix = _grid_to_shown(view, self.view(view))
        scale = float(matrix[0, 0])
        brought = []
        for plane in turned:
            plane = np.ascontiguousarray(plane)
            if scale > 1:  # a node of the plain grid stands for so many of the part's
                plane = cv2.GaussianBlur(plane, (0, 0), _SIGMA * scale)
            size = (plane.shape[1], plane.shape[0])
            how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            brought.append(cv2.warpAffine(plane, matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE))
        return np.asarray(np.stack(brought), np.float32)

    def instances_to_plain(self, said: FloatArray | None) -> FloatArray | None:
        """What places of the picture said of their instruments, (9, g, u), as places of the plain look would.

        None: nothing was said, or a part or another scale was shown.
        """
        if said is None or self._drawn:
            return None
        turned = said[:, :: self.down, :: self.across].copy()
        turned[ACROSS] *= self.across
        turned[DOWN] *= self.down
        return turned

    def shows(self, view: Letterbox) -> BoolArray | None:
        """Nodes of the plain look's grid that were shown, bool (h, w); None: all. Read-only, shared between calls."""
        return None if self.part is None else _shown(view, self.view(view))


_SIGMA = 0.35
"""Of the blur before nodes are left out, in nodes of the result."""


@functools.lru_cache(maxsize=64)
def part_view(view: Letterbox, part: tuple[float, float, float, float]) -> Letterbox:
    """The view of a part of a view's crop: left, top, right and bottom as shares of it, cut at whole pixels.

    Raises:
        ValueError: the part is empty or not inside the crop.
    """
    left, top, right, bottom = part
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f"part {part} of a look; expected left, top, right, bottom, ascending shares of 0 to 1")
    crop = view.crop
    x, y = round(left * (crop.width - 1)), round(top * (crop.height - 1))
    width, height = max(1, round(right * crop.width) - x), max(1, round(bottom * crop.height) - y)
    content = ContentArea(Box(crop.x + x, crop.y + y, width, height), view.circle, 0.0)
    return make_letterbox(view.frame_size, view.network_size, content)


@functools.lru_cache(maxsize=64)
def _view_of(view: Letterbox, part: tuple[float, float, float, float] | None, scale: float) -> Letterbox:
    """The view of all or a part of a view's crop, at a share of the largest scale that fits, centred.

    Raises:
        ValueError: the scale is none, or as of `part_view`.
    """
    if not 0 < scale <= 1:
        raise ValueError(f"scale {scale} of a look; expected a share of the largest that fits, above 0, at most 1")
    shown = view if part is None else part_view(view, part)
    if scale == 1:
        return shown
    shown = dataclasses.replace(shown, scale=shown.scale * scale)
    height, width = shown_size(shown)
    pad_x, pad_y = (shown.network_size[1] - width) // 2, (shown.network_size[0] - height) // 2
    return dataclasses.replace(shown, pad_x=pad_x, pad_y=pad_y)


def _balanced(network_rgb: ByteArray, view: Letterbox) -> ByteArray:
    """A picture whose channels have the same mean inside the content; padding stays."""
    height, width = shown_size(view)
    inside = np.s_[view.pad_y : view.pad_y + height, view.pad_x : view.pad_x + width]
    means = np.maximum(network_rgb[inside].reshape(-1, 3).mean(axis=0), 1.0)
    gains = np.clip(means.mean() / means, 0.5, 2.0)  # what has no red light at all is not made of noise
    balanced = network_rgb.copy()
    balanced[inside] = np.clip(np.rint(network_rgb[inside] * gains), 0, 255)
    return balanced


@functools.lru_cache(maxsize=64)
def _grid_to_shown(view: Letterbox, shown: Letterbox) -> FloatArray:
    """Affine map, (2, 3), from nodes of the plain look's view to those of what is shown."""
    corners = grid_to_frame([[0.0, 0.0], [1.0, 0.0]], view)
    (x, y), (next_x, _) = frame_to_grid(corners, shown)
    return np.array([[next_x - x, 0.0, x], [0.0, next_x - x, y]], np.float32)


@functools.lru_cache(maxsize=64)
def _shown(view: Letterbox, shown: Letterbox) -> BoolArray:
    rows, columns = view.network_size[0] // STRIDE, view.network_size[1] // STRIDE
    nodes = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
    mask = inside_content(grid_to_frame(nodes, view), shown)
    mask.setflags(write=False)
    return mask


@functools.lru_cache(maxsize=16)
def _exposure(gamma: float) -> ByteArray:
    """Brightness by brightness, uint8 (256,)."""
    table = np.rint(np.linspace(0.0, 1.0, 256) ** gamma * 255.0).astype(np.uint8)
    table.setflags(write=False)
    return table


PLAIN = Look("plain")
MIRRORS = (PLAIN, Look("up-down", -1, 1), Look("half turn", -1, -1), Look("left-right", 1, -1))
"""In the order in which they are taken. A stream does not mind the order; a still with two looks gains from up-down."""
DARKER, BRIGHTER = Look("darker", gamma=1.6), Look("brighter", gamma=0.6)
PARTS = (
    Look("middle", part=(0.2, 0.2, 0.8, 0.8)),
    Look("top left", part=(0.0, 0.0, 0.6, 0.6)),
    Look("top right", part=(0.4, 0.0, 1.0, 0.6)),
    Look("bottom left", part=(0.0, 0.4, 0.6, 1.0)),
    Look("bottom right", part=(0.4, 0.4, 1.0, 1.0)),
)
"""Parts of the frame at 5/3 of the plain look's scale. None can be a frame's only look: the rest would be old."""
EXPOSED_MIRRORS = MIRRORS + tuple(
    dataclasses.replace(mirror, name=f"{mirror.name}, {light.name}", gamma=light.gamma)
    for light in (DARKER, BRIGHTER)
    for mirror in MIRRORS
)
"""Every mirror image at every exposure: looks at the whole frame."""
COARSER, GRAY_WORLD = Look("coarser", scale=0.6), Look("gray world", gray_world=True)
"""The whole frame at 3/5 of the plain look's scale, and in a light without colour."""
WHOLE_LOOKS = (*EXPOSED_MIRRORS, COARSER, GRAY_WORLD)
"""Looks at the whole frame: each can be a frame's only one."""
LOOKS_A_FRAME = (1, 2, 4)
"""How many looks a frame may get: so that a turn through the mirror images ends with a frame."""


def looks_named(names: Sequence[str]) -> tuple[Look, ...]:
    """Looks at the whole frame by name. Raises `ValueError` for a name that none has, and for no name."""
    known = {look.name: look for look in WHOLE_LOOKS}
    strange = [name for name in names if name not in known]
    if strange or not names:
        raise ValueError(f"looks {', '.join(strange) or 'none'}: expected some of {'; '.join(known)}")
    return tuple(known[name] for name in names)


def looks_in_turn(taken: int, count: int, turn: tuple[Look, ...] = MIRRORS) -> tuple[Look, ...]:
    """The next `count` looks of a stream that took `taken` before, round and round through `turn`."""
    return tuple(turn[(taken + index) % len(turn)] for index in range(count))


@dataclasses.dataclass(frozen=True)
class Taken:
    """Looks that were taken at a frame."""

    outputs: tuple[EngineOutput, ...]
    """Of these looks, at least one, on the plain look's grid."""
    looks: tuple[Look, ...]
    """The first of those that were asked for; the plain look alone where the first of them failed."""
    failure: str = ""
    """Which look failed and how, one line; empty where none did."""


def take_looks(
    engine: Engine,
    network_rgb: ByteArray,
    text: FloatArray,
    looks: Sequence[Look],
    *,
    budget_ms: float | None = None,
    rgb: ByteArray | None = None,
    view: Letterbox | None = None,
) -> Taken:
    """Show the engine a picture in several ways, and bring the results back to the plain look's grid.

    Args:
        engine: runs each look, in batches of one: the time grows with their number.
        network_rgb: the plain look, as of `Engine.infer`.
        text: as of `Engine.infer`.
        looks: at least one, each at the whole frame.
        budget_ms: for all looks together, ms. The first is always taken; no other begins that would not fit if it took
            as long as the longest so far.
        rgb: the frame, for looks at another scale.
        view: of the plain look, for looks at another scale and a gray world.

    Returns:
        Outputs of the looks that were taken. Where one after the first fails, those before it; where the first does and
        is not the plain look, the plain one: a stream must not wait at a look that always fails.

    Raises:
        EngineError: the plain look fails as the first: as of `Engine.infer`, or an output that breaks the protocol.
    """
    start = time.perf_counter()
    outputs: list[EngineOutput] = []

    def take(look: Look) -> None:
        output = engine.infer(look.of(network_rgb, rgb, view), text)
        check_output(engine.info, output, len(text))
        brought = look.to_plain(output.log_probs, view), look.instances_to_plain(output.instances)
        outputs.append(dataclasses.replace(output, log_probs=brought[0], instances=brought[1]))

    for look in looks:
        if outputs and budget_ms is not None:
            left = budget_ms - (time.perf_counter() - start) * 1e3
            if left < max(output.network_ms for output in outputs):
                break
        try:
            take(look)
        except Exception as error:  # whatever an engine raises must not take what the looks before it say
            if look == PLAIN and not outputs:
                raise
            failure = f"look '{look.name}' failed, {len(outputs)} of {len(looks)} taken: {named_line(error)}"
            if outputs:
                return Taken(tuple(outputs), tuple(looks[: len(outputs)]), failure)
            take(PLAIN)
            return Taken(tuple(outputs), (PLAIN,), failure)
    return Taken(tuple(outputs), tuple(looks[: len(outputs)]))
