"""Times what happens to a frame beside the network, at 1280x1024, and how far the fast ways agree with the plain ones.

    python benchmarks/postprocess.py [--frame 1024x1280] [--network 352x448] [--classes 2,8,12,50] [--repeats 30]

Log-probabilities are blobs of classes with soft borders and noise, as a trained network gives. Times are the median of
the thread's own CPU time, so that other work on the machine disturbs them little; run with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.scene.content_area import estimate_content_area
from clip_rl_perception.scene.instruments import find_instruments
from clip_rl_perception.scene.label_map import full_size_maps, grid_winners, reference_maps, warm_up
from clip_rl_perception.scene.overlay import draw_overlay
from clip_rl_perception.scene.tracks import TrackMemory, track_instruments
from clip_rl_perception.scene.types import NetworkView
from clip_rl_perception.scene.validity import judge, measure_look
from clip_rl_perception.scene.view import make_view, to_network

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


def upsampling(frame: tuple[int, int], network: tuple[int, int], classes: list[int], repeats: int) -> None:
    """Label map and confidence, fast against plain, for numbers of classes."""
    view = make_view(frame, network)
    print("ms; confidence: share of pixels within one step of 255 / largest difference")
    print("classes  winners  label map  + confidence  plane by plane  agreement  confidence")
    for count in classes:
        log_probs = log_probs_like_a_network(count, (network[0] // 4, network[1] // 4))
        labels, confidence = full_size_maps(log_probs, view, temperature=1.3, want_confidence=True)
        want_labels, want_confidence = reference_maps(log_probs, view, temperature=1.3)
        assert confidence is not None
        off = np.abs(confidence.astype(int) - want_confidence)
        winners = milliseconds(functools.partial(grid_winners, log_probs), repeats)
        alone = milliseconds(functools.partial(full_size_maps, log_probs, view), repeats)
        both = functools.partial(full_size_maps, log_probs, view, temperature=1.3, want_confidence=True)
        planes = milliseconds(functools.partial(plane_by_plane, log_probs, view), 3)
        print(
            f"{count:7d} {winners:8.2f} {alone:10.2f} {milliseconds(both, repeats):13.2f} {planes:15.2f}"
            f" {(labels == want_labels).mean():10.6f}  {(off <= 1).mean():.6f} / {off.max()}"
        )


def stages(frame: tuple[int, int], network: tuple[int, int], repeats: int) -> None:
    """Everything else that a frame goes through, with two shafts in the picture."""
    rng = np.random.default_rng(0)
    light = 1 + 0.12 * cv2.resize(rng.normal(size=(10, 12)), frame[::-1]) + 0.1 * rng.normal(size=frame)
    rgb = np.clip(light[..., None] * np.array([170, 80, 75]), 0, 255).astype(np.uint8)
    view = make_view(frame, network)
    rows, columns = network[0] // 4, network[1] // 4
    share = np.zeros((rows, columns), np.float32)
    cv2.line(share, (0, rows // 4), (columns // 2, rows // 2), 1.0, 8)
    cv2.line(share, (columns - 1, rows - 8), (columns * 3 // 5, rows * 3 // 5), 1.0, 8)
    share = cv2.GaussianBlur(share, (0, 0), 0.7).astype(np.float32)
    log_probs = np.log(np.stack([1 - share, share]) * 0.98 + 0.01).astype(np.float32)
    space = label_space_from_names(["background", "instrument"])
    winners = grid_winners(log_probs)
    label_map, _ = full_size_maps(log_probs, view)
    tags = find_instruments(winners, log_probs, label_map, view, space)
    _, memory = track_instruments(tags, 0, view, TrackMemory())
    network_rgb = to_network(rgb, view)
    black = rgb.copy()
    cv2.circle(black, (frame[1] // 2, frame[0] // 2), frame[0], (0, 0, 0), frame[0])
    print(f"ms per frame, {len(tags)} instruments")
    for name, function in {
        "content area, whole frame (every 12th frame)": lambda: estimate_content_area(rgb),
        "content area, round (every 12th frame)": lambda: estimate_content_area(black),
        "to network": lambda: to_network(rgb, view, network_rgb),
        "instruments": lambda: find_instruments(winners, log_probs, label_map, view, space),
        "tracks": lambda: track_instruments(tags, 40_000_000, view, memory),
        "validity": lambda: judge(measure_look(network_rgb, view), 0.5, False),
        "overlay": lambda: draw_overlay(rgb, label_map, space, tags),
    }.items():
        print(f"{milliseconds(function, repeats):8.2f}  {name}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frame", default="1024x1280", help="height x width of the frame")
    parser.add_argument("--network", default="352x448", help="height x width of the network input")
    parser.add_argument("--classes", default="2,8,12,50", help="numbers of classes")
    parser.add_argument("--repeats", type=int, default=30, help="calls per number")
    arguments = parser.parse_args()
    frame, network = size(arguments.frame), size(arguments.network)
    cv2.setNumThreads(1)
    start = time.perf_counter()
    warm_up()
    print(f"compiling or loading the kernels: {time.perf_counter() - start:.2f} s")
    upsampling(frame, network, [int(text) for text in arguments.classes.split(",")], arguments.repeats)
    stages(frame, network, arguments.repeats)


def size(text: str) -> tuple[int, int]:
    """``1024x1280`` -> (1024, 1280)."""
    height, width = text.split("x")
    return int(height), int(width)


if __name__ == "__main__":
    main()
