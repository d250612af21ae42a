"""The mean of an engine's results on an image and on its mirror images, for as many times the work.

What a network learned of light and of the sides that instruments come from, it learned with one side up; errors that
depend on it differ from one mirror image to the next and cancel in the mean (Krizhevsky et al. 2012, section 4.1).
"""

from __future__ import annotations

import math
import time

import numpy as np

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.protocol import Engine, EngineError, EngineOutput, check_output

VIEWS = (1, 2, 4)
"""How many there may be: the image; and its left-right mirror image; and both of them upside down."""
_FLIPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
"""Steps along rows and columns; each undoes itself."""


def infer_tta(
    engine: Engine,
    rgb: ByteArray,
    text: FloatArray,
    *,
    views: int = 1,
    previous: FloatArray | None = None,
    max_steps: int | None = None,
    budget_ms: float | None = None,
) -> EngineOutput:
    """Segment an image by the mean of several views of it.

    Args:
        engine: runs each of them; batches of one, so the time grows with their number.
        rgb: as of `Engine.infer`.
        text: as of `Engine.infer`.
        views: one of `VIEWS`; 1 is `Engine.infer` itself.
        previous: as of `Engine.infer`.
        max_steps: as of `Engine.infer`, for each view.
        budget_ms: for all views together, ms; what is left is shared among those still to come. After the first, no
            view begins whose encoder and decoder would not fit, if they take as long as the longest so far.

    Returns:
        `logits` and `refined` are the log of the views' mean probabilities, `embedding` is the mean direction, `steps`
        the most that a view took; `truncated` if any was, or if a view was left out; times add up.

    Raises:
        EngineError: as of `Engine.infer`, another number of views, or an output that breaks the protocol.
    """
    if views not in VIEWS:
        raise EngineError(f"views is {views}; expected one of {', '.join(map(str, VIEWS))}")
    if views == 1:
        output = engine.infer(rgb, text, previous=previous, max_steps=max_steps, budget_ms=budget_ms)
        check_output(engine.info, output, len(text))
        return output
    start = time.perf_counter()
    outputs: list[tuple[EngineOutput, int, int]] = []
    for index, (down, across) in enumerate(_FLIPS[:views]):
        left = None
        if budget_ms is not None:
            left = max(budget_ms - (time.perf_counter() - start) * 1e3, 0.0)
            if outputs and left < max(seen.network_ms for seen, *_ in outputs):
                break
            left /= views - index
        seen = engine.infer(
            np.ascontiguousarray(rgb[::down, ::across]),
            text,
            previous=None if previous is None else np.ascontiguousarray(previous[:, ::down, ::across]),
            max_steps=max_steps,
            budget_ms=left,
        )
        check_output(engine.info, seen, len(text))
        outputs.append((seen, down, across))

    direction = np.sum([seen.embedding for seen, *_ in outputs], axis=0)
    return EngineOutput(
        logits=_log_mean([_log_softmax(seen.logits)[:, ::down, ::across] for seen, down, across in outputs]),
        refined=_log_mean([seen.refined[:, ::down, ::across] for seen, down, across in outputs]),
        embedding=(direction / max(float(np.linalg.norm(direction)), 1e-12)).astype(np.float32),
        steps=max(seen.steps for seen, *_ in outputs),
        truncated=len(outputs) < views or any(seen.truncated for seen, *_ in outputs),
        network_ms=math.fsum(seen.network_ms for seen, *_ in outputs),
        refine_ms=math.fsum(seen.refine_ms for seen, *_ in outputs),
    )


def _log_softmax(logits: FloatArray) -> FloatArray:
    """Over the classes, (K, h, w)."""
    return logits - np.logaddexp.reduce(logits, axis=0)  # type: ignore[no-any-return]


def _log_mean(logs: list[FloatArray]) -> FloatArray:
    """Log of the mean of what `logs` are logs of; probabilities too small for a float keep their order."""
    return np.ascontiguousarray(np.logaddexp.reduce(np.stack(logs), axis=0) - math.log(len(logs)), np.float32)
