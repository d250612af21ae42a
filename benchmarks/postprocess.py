"""Times what happens to a frame after the network, at 1280x1024, and how far the fast ways agree with the plain ones.

    python benchmarks/postprocess.py [--frame 1024x1280] [--network 352x448] [--classes 2,8,12,50] [--repeats 30]

Log-probabilities are blobs of classes with soft borders and noise, as a trained network gives. Times are the median of
the thread's own CPU time, so that other work on the machine disturbs them little; run with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
from clip_rl_perception.scene.label_map import full_size_maps, grid_winners, reference_maps, warm_up
from clip_rl_perception.scene.types import NetworkView
from clip_rl_perception.scene.view import make_view

FloatArray = npt.NDArray[np.float32]


def log_probs_like_a_network(classes: int, size: tuple[int, int], seed: int = 0) -> FloatArray:
    """Soft-bordered blobs of `classes` classes, float32 (K, h, w)."""
    rng = np.random.default_rng(seed)
    fields = [cv2.resize(rng.normal(size=(5, 6)), size[::-1], interpolation=cv2.INTER_CUBIC) for _ in range(classes)]
    winners = np.argmax(fields, axis=0)
    soft = np.stack([cv2.GaussianBlur((winners == k).astype(np.float64), (0, 0), 1.0) for k in range(classes)])
    values = 1.2 * np.log(soft * 0.998 + 0.002 / classes) + 0.3 * rng.normal(size=soft.shape)
    values -= values.max(axis=0)
    return np.asarray(values - np.log(np.exp(values).sum(axis=0)), np.float32)


def plane_by_plane(log_probs: FloatArray, view: NetworkView) -> npt.NDArray[np.uint8]:
    """The usual exact way: resize each class, keep a running maximum. Whole-frame views only."""
    height, width = view.frame_size
    best = np.full((height, width), -np.inf, np.float32)
    labels = np.zeros((height, width), np.uint8)
    step = view.scale / 4
    offsets = [0.5 * step - 0.5 + pad / 4 for pad in (view.pad_x, view.pad_y)]
    matrix = np.array([[step, 0, offsets[0]], [0, step, offsets[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for k, plane in enumerate(log_probs):
        full = cv2.warpAffine(plane, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        labels[full > best] = k
        np.maximum(best, full, out=best)
    return labels


def milliseconds(function: Callable[[], object], repeats: int) -> float:
    """Median CPU time of this thread per call, ms."""
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return 1e3 * float(np.median(times))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frame", default="1024x1280", help="height x width of the frame")
    parser.add_argument("--network", default="352x448", help="height x width of the network input")
    parser.add_argument("--classes", default="2,8,12,50", help="numbers of classes")
    parser.add_argument("--repeats", type=int, default=30, help="calls per number")
    arguments = parser.parse_args()
    frame, network = (tuple(int(v) for v in text.split("x")) for text in (arguments.frame, arguments.network))
    cv2.setNumThreads(1)
    start = time.perf_counter()
    warm_up()
    print(f"compiling or loading the kernels: {time.perf_counter() - start:.2f} s")
    view = make_view((frame[0], frame[1]), (network[0], network[1]))
    print(
        "classes  winners  label map  + confidence  plane by plane  agreement  confidence within 1 / largest difference"
    )
    for classes in (int(text) for text in arguments.classes.split(",")):
        log_probs = log_probs_like_a_network(classes, (network[0] // 4, network[1] // 4))
        labels, confidence = full_size_maps(log_probs, view, temperature=1.3, want_confidence=True)
        want_labels, want_confidence = reference_maps(log_probs, view, temperature=1.3)
        assert confidence is not None
        off = np.abs(confidence.astype(int) - want_confidence)

        def both(values: FloatArray = log_probs) -> object:
            return full_size_maps(values, view, temperature=1.3, want_confidence=True)

        print(
            f"{classes:7d} {milliseconds(lambda v=log_probs: grid_winners(v), arguments.repeats):8.2f}"
            f" {milliseconds(lambda v=log_probs: full_size_maps(v, view), arguments.repeats):10.2f}"
            f" {milliseconds(both, arguments.repeats):13.2f}"
            f" {milliseconds(lambda v=log_probs: plane_by_plane(v, view), 3):15.2f}"
            f" {(labels == want_labels).mean():10.6f}"
            f"  {(off <= 1).mean():.6f} / {off.max()}"
        )


if __name__ == "__main__":
    main()
