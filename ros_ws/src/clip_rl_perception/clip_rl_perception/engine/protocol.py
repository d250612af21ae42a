"""What every engine offers, whatever compiled it, and what all of them do around a frame: checks, time, errors.

An engine is the network at one static input size. Text embeddings are an input, so new classes need no rebuild.
Notation: H, W network input size; h, w = H/4, W/4 (stride 4); K classes; D text embedding width.
S side of close-ups.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from clip_rl_perception.arrays import ByteArray, FloatArray, described
from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.instance_channels import CHANNELS, INSTANCE_STRIDE
from clip_rl_perception.labels import LabelSpace


class EngineError(ClipRlError, RuntimeError):
    """An engine cannot be loaded or a frame cannot be inferred; the message says what differs and what to do."""


CLASS_COUNTS_KEPT = 3
"""Graphs of so many numbers of classes stay ready; the oldest gives way."""
_OUT_OF_MEMORY = re.compile("out of memory|alloc|resource temporarily unavailable", re.IGNORECASE)
"""In plain RuntimeErrors: of CUDA's libraries, of torch's CPU allocator, of OpenVINO (bad_alloc; a thread without room
for its stack)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a library's error says that memory ran out."""
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


@dataclasses.dataclass(frozen=True)
class EngineInfo:
    """What an engine is, for status messages, reports and manifests."""

    backend: str
    """``torch``, ``openvino`` or ``tensorrt``."""
    precision: str
    """``fp32``, ``bf16``, ``fp16`` or ``int8``."""
    input_size: tuple[int, int]
    """(H, W) in pixels."""
    stride: int
    """Input pixels per logit: 4."""
    embedding_dim: int
    """D, width of the text embeddings."""
    model_id: str
    """First 12 hex digits of the checkpoint's SHA-256."""
    close_up_side: int | None = dataclasses.field(default=None, kw_only=True)
    """S, height and width of close-ups, px; None: the network has no branch for them."""

    def describe(self) -> str:
        """One phrase, for example ``torch fp32 352x448``."""
        return f"{self.backend} {self.precision} {self.input_size[0]}x{self.input_size[1]}"


@dataclasses.dataclass(frozen=True)
class EngineOutput:
    """Result of one frame."""

    log_probs: FloatArray
    """Log-probabilities of the classes, (K, h, w), normalised over K."""
    embedding: FloatArray
    """Global image embedding in the text space, unit length, (D,)."""
    network_ms: float
    """Time from the arguments to the results, ms."""
    instances: FloatArray | None = None
    """What each place of 8 x 8 pixels says of its instrument, (9, H/8, W/8), as of `instance_channels`;
    None: the network has no instance head."""


class ClassGraphs(Protocol):
    """The graph of K classes, bound to its memory."""

    def run(self, rgb: ByteArray, text: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Log-probabilities, embedding and instances as of `EngineOutput`, the caller's to keep; arguments as of
        `Engine.infer`.

        Logits that are not finite give log-probabilities that are not.
        """
        ...


CloseUpGraph = Callable[[ByteArray], FloatArray]
"""Of a close-up, uint8 (S, S, 3), its embedding, (D,), the caller's to keep."""


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddedTypes:
    """Types of instruments with what names them."""

    space: LabelSpace
    """T types with their prompts."""
    text: FloatArray
    """Their text embeddings, float32 (T, D), unit rows."""


class Engine:
    """The network, loaded and verified. Calls come from one thread at a time. Subclasses make the graphs."""

    def __init__(self, info: EngineInfo) -> None:
        self._info = info
        self._graphs: dict[int, ClassGraphs] = {}
        self._close_up: CloseUpGraph | None = None
        self._closed = False
        self.close_up_ms = math.inf
        """Time of the quickest close-up so far, ms."""
        self.types: EmbeddedTypes | None = None
        """Types whose texts were embedded when the engine was built; None: none were."""

    @property
    def info(self) -> EngineInfo:
        """What this engine is."""
        return self._info

    def infer(self, rgb: ByteArray, text: FloatArray) -> EngineOutput:
        """Segment one network-sized image. The result stays as it is whatever is inferred after it.

        Args:
            rgb: uint8 (H, W, 3), RGB, at exactly `info.input_size`.
            text: float32 (K, D), unit rows, one per class.

        Raises:
            EngineError: wrong shape or dtype, non-finite logits, out of memory.
        """
        check_infer_arguments(self._info, rgb, text)
        with self._guarded():
            graphs = self._graphs_for(text.shape[0])
            start = time.perf_counter()
            log_probs, embedding, instances = graphs.run(rgb, text)
            check_finite(self._info, log_probs)
            return EngineOutput(log_probs, embedding, (time.perf_counter() - start) * 1e3, instances)

    def embed_close_up(self, rgb: ByteArray) -> FloatArray:
        """Where the one instrument on a close-up lies in the text space: float32 (D,), unit length.

        One forward of the network's branch for close-ups (`model.close_up`), of the close-up as it is turned.

        Args:
            rgb: uint8 (S, S, 3), RGB, S being `info.close_up_side`.

        Raises:
            EngineError: the network has no such branch; as of `infer`.
        """
        side = self._info.close_up_side
        if side is None:
            raise EngineError(f"{self._info.describe()}: this network has no branch for close-ups")
        if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.shape != (side, side, 3):
            raise EngineError(f"a close-up is {described(rgb)}; this engine takes uint8 ({side}, {side}, 3)")
        with self._guarded():
            if self._close_up is None:
                self._close_up = self._make_close_up(side)
            start = time.perf_counter()
            embedding = self._close_up(rgb)
            check_finite(self._info, embedding)
            self.close_up_ms = min(self.close_up_ms, (time.perf_counter() - start) * 1e3)
            return embedding

    def close(self) -> None:
        """Free the graphs and their memory; the engine is unusable afterwards."""
        self._closed = True
        self._free()

    def _make_graphs(self, classes: int) -> ClassGraphs:
        raise NotImplementedError

    def _make_close_up(self, side: int) -> CloseUpGraph:
        raise NotImplementedError

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Around all that the library does: what it raises becomes an `EngineError`."""
        if self._closed:
            raise EngineError("this engine is closed; load it again")
        try:
            with self._running():
                yield
        except EngineError:
            raise
        except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if is_out_of_memory(error):
                self._free()  # what can be freed is; the next frame begins anew
            raise library_failure(self._info, error) from error

    def _running(self) -> contextlib.AbstractContextManager[object]:
        """Around everything that runs for a frame."""
        return contextlib.nullcontext()

    def _free(self) -> None:
        self._graphs.clear()
        self._close_up = None

    def _graphs_for(self, classes: int) -> ClassGraphs:
        if classes not in self._graphs:
            if len(self._graphs) >= CLASS_COUNTS_KEPT:
                self._graphs.pop(next(iter(self._graphs)))
            self._graphs[classes] = self._make_graphs(classes)
        return self._graphs[classes]


def library_failure(info: EngineInfo, error: BaseException) -> EngineError:
    """What a library raised in the middle of a frame, as one line that says what to do where something can be done."""
    reason = one_line(error)[-300:]
    if is_out_of_memory(error):
        return EngineError(f"out of memory at {info.describe()}: {reason}. Free memory, or use a smaller network size")
    return EngineError(f"{info.describe()} failed: {reason}")


def check_finite(info: EngineInfo, values: FloatArray) -> None:
    """Raise `EngineError` when the network's logits, or what was made of them, are not finite."""
    if not np.isfinite(values).all():
        raise EngineError(f"{info.describe()}: the network's logits are not finite; check the weights and precision")


def check_output(info: EngineInfo, output: EngineOutput, classes: int) -> None:
    """Hold an engine to its protocol: raise `EngineError` when maps are of another dtype or shape, or not finite.

    What follows relies on it, and a wrong shape would only fail there.
    """
    expected = (classes, info.input_size[0] // info.stride, info.input_size[1] // info.stride)
    if output.log_probs.dtype != np.float32 or output.log_probs.shape != expected:
        got = described(output.log_probs)
        raise EngineError(f"engine {info.describe()} returned log_probs as {got}; expected float32 {expected}")
    if not np.isfinite(output.log_probs).all():
        raise EngineError(f"engine {info.describe()} returned log-probabilities that are not finite")
    if output.instances is not None:
        places = (len(CHANNELS), *(side // INSTANCE_STRIDE for side in info.input_size))
        if output.instances.dtype != np.float32 or output.instances.shape != places:
            got = described(output.instances)
            raise EngineError(f"engine {info.describe()} returned instances as {got}; expected float32 {places}")
        if not np.isfinite(output.instances).all():
            raise EngineError(f"engine {info.describe()} returned instances that are not finite")


def check_infer_arguments(info: EngineInfo, rgb: Any, text: Any) -> None:
    """Raise `EngineError` that names the argument when `infer` is called with a wrong shape or dtype."""
    height, width = info.input_size
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.shape != (height, width, 3):
        raise EngineError(f"rgb is {described(rgb)}; this engine takes uint8 ({height}, {width}, 3)")
    if (
        not isinstance(text, np.ndarray)
        or text.dtype != np.float32
        or text.ndim != 2
        or text.shape[1] != info.embedding_dim
        or not 1 <= text.shape[0] <= 254
    ):
        raise EngineError(f"text is {described(text)}; this engine takes float32 (1..254, {info.embedding_dim})")


def check_rgb(rgb: Any) -> None:
    """Raise `EngineError` unless it is a frame as cameras give it, uint8 (height, width, 3) of any size above 0."""
    if not isinstance(rgb, np.ndarray):
        raise EngineError(f"a frame is a {type(rgb).__name__}; expected an array, uint8 (height, width, 3)")
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or min(rgb.shape) < 1:
        raise EngineError(f"a frame is {rgb.dtype} {rgb.shape}; expected uint8 (height, width, 3)")
