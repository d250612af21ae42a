"""A model as a Python object: an RGB array in, labels, confidence and tags out.

model = clip_rl_perception.load("demo")
result = model(rgb)                            # every image stands alone

video = model.video(rate_hz=25)                # frames follow each other: tracks, memory
results = [video(frame) for frame in frames]   # video.reset() before the next one
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception import stream
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.labels import LabelError, LabelSpace, label_space_from_names
from clip_rl_perception.predict.option_values import check_values
from clip_rl_perception.predict.plain_tags import plain_tag
from clip_rl_perception.scene.outcome import conclude
from clip_rl_perception.scene.overlay import draw_overlay
from clip_rl_perception.scene.types import Scene
from clip_rl_perception.stream_options import ModelOptions

LONGEST_S = 9e9
"""Times of frames beyond it have no stamp, which is nanoseconds in 64 bits."""


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What was seen in one image."""

    labels: ByteArray
    """Class ids, uint8 (height, width) of the image; 255 where it shows nothing, outside the endoscope's circle."""
    confidence: ByteArray
    """Calibrated probability of that class x 255, uint8 (height, width)."""
    tags: list[dict[str, Any]]
    """Instruments, the fields of InstrumentTag: class_name, class_id, confidence, box, tip, axis, area, ..."""
    validity: str
    """"ok", "degraded", "out_of_body", "out_of_distribution": what can be said against the image."""
    reason: str
    """Why it is not ok; else empty."""
    classes: tuple[str, ...]
    """Names by class id."""
    scene: Scene
    """All that is known."""
    _draw: Callable[[], ByteArray] = dataclasses.field(repr=False)

    def overlay(self) -> ByteArray:
        """The image as it was, classes, boxes, tips and names drawn over it, uint8 RGB (height, width, 3)."""
        return self._draw()


class Video:
    """Frames that follow each other: identities, the memory of the last result, what is known of the content area."""

    def __init__(self, model: stream.LoadedModel, rate_hz: float) -> None:
        """`rate_hz`: frames per second, for frames without a time of their own."""
        self._model, self._period_s = model, 1 / rate_hz
        self._runner = stream.StreamRunner(model)
        self._next_s = 0.0

    def __call__(self, rgb: ByteArray, time_s: float | None = None) -> Result:
        """Process the next frame.

        Args:
            rgb: uint8 (height, width, 3), red first: of an image that OpenCV read take ``bgr[..., ::-1]``.
            time_s: when it was taken, s from any beginning, rising; None: a period after the last one. Judged as the
                node judges stamps: one again, or a little older than the last, makes the result "degraded"; a second
                back, or three frames in a row, begins another video, as `reset` does.

        Raises:
            EngineError: no such array or time, or the engine failed; the next frame may be tried.
        """
        time_s = self._next_s if time_s is None else time_s
        if not isinstance(time_s, numbers.Real) or not abs(time_s) <= LONGEST_S:
            raise EngineError(
                f"time_s is {time_s!r}; expected seconds from the beginning, a number up to {LONGEST_S:g}"
            )
        prepared = self._runner.prepare(rgb)
        stamp_ns = round(float(time_s) * 1e9)
        # 0 as a stamp would mean that there is none.
        verdict = self._runner.check_stamp(stamp_ns + 1, stamp_ns + 1)
        self._next_s = float(time_s) + self._period_s
        scene, space = self._runner.process(prepared, stamp_ns, want_confidence=True)
        validity, reason = conclude(scene.validity, scene.reason, verdict, age_ms=0.0, max_age_ms=0.0)
        assert scene.confidence is not None
        return Result(
            labels=scene.label_map,
            confidence=scene.confidence,
            tags=[plain_tag(tag, space) for tag in scene.instruments],
            validity=validity.name.lower(),
            reason=reason,
            classes=space.names,
            scene=scene,
            _draw=functools.partial(draw_overlay, _copy(rgb), scene, space),
        )

    def reset(self) -> None:
        """The next frame begins another video."""
        self._runner.reset()
        self._next_s = 0.0


def _copy(rgb: ByteArray) -> ByteArray:
    """A copy of an image, of which the caller may fill the array anew, such as a camera's buffer."""
    bgr = rgb[..., ::-1]
    # Turned back where it is OpenCV's array turned round: byte by byte the copy would take 30 times as long.
    return bgr.copy()[..., ::-1] if bgr.flags.c_contiguous else rgb.copy()


class Model:
    """A model on its engine, from `load`. One thread at a time may call it; any number of videos may share it."""

    def __init__(self, model: stream.LoadedModel) -> None:
        """`model`: loaded and warm; freed by `close`."""
        self._model = model
        self._image = Video(model.for_stills(), 1.0)

    def __call__(self, rgb: ByteArray) -> Result:
        """Process an image that stands alone; see `Video.__call__` for the array and for what is raised."""
        self._image.reset()
        return self._image(rgb)

    def video(self, rate_hz: float = 25.0) -> Video:
        """Begin a video of so many frames per second."""
        if not isinstance(rate_hz, numbers.Real) or not 0 < rate_hz < math.inf:
            raise EngineError(f"rate_hz is {rate_hz!r}; expected frames per second above 0")
        return Video(self._model, rate_hz)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by class id."""
        return self._model.space.names

    @property
    def model_id(self) -> str:
        """First 12 hex digits of the weights' SHA-256."""
        return self._model.model_id

    @property
    def engine(self) -> str:
        """Backend, precision and network size."""
        return self._model.engine_name

    def close(self) -> None:
        """Free the engine."""
        self._model.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(
    checkpoint: str | Path = "demo",
    *,
    engine: str | Path = "auto",
    device: str | None = None,
    classes: str | Path | Sequence[str] | LabelSpace | None = None,
    log: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> Model:
    """Load a model, verify it and warm it up: seconds.

    Args:
        checkpoint: name of a shipped one, path of a checkpoint, or the folder of a training run.
        engine: "auto" (what `clip-rl build-engine` compiled for this model, else torch), "torch", "cuda", or a folder.
        device: "cpu", "cuda", "cuda:1": where it runs; None: as the engine says.
        classes: other classes than the model's: a label space by name or file, or names, the background first.
        log: told in a line each how loading goes, for example `print`.
        options: further fields of `clip_rl_perception.stream_options.ModelOptions`: threads, refine_steps, views, ...

    Raises:
        CheckpointError: no such checkpoint, or it is damaged.
        EngineError: no such engine, or not for this model and machine.
        LabelError: no such label space, or names that cannot be classes.
        ClipRlError: an option of another type, or out of its bounds.
        TypeError: no such option.
    """
    named = str(classes) if isinstance(classes, str | Path) else None
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    made = ModelOptions(model=str(checkpoint), engine=str(engine), device=device, classes=named, **options)
    check_values(made)
    space = None
    if classes is not None and not isinstance(classes, str | Path):
        space = classes if isinstance(classes, LabelSpace) else label_space_from_names(_names(classes))
    model = stream.load(made, log)
    if space is not None:
        try:
            model.use_classes(space)
        except BaseException:
            model.close()
            raise
    return Model(model)


def _names(classes: Any) -> list[str]:
    """Names of classes, in a list; not of what has no order, or may have no end."""
    names = list(classes) if isinstance(classes, Sequence | np.ndarray) else []
    if not names or not all(isinstance(name, str) for name in names):
        told = f"{classes!r}" if names else f"a {type(classes).__name__}"
        raise LabelError(f"classes is {told}; expected a label space by name or file, or a list of names")
    return names
