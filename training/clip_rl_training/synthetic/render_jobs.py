"""Frames rendered by several processes of one thread each; what is rendered does not depend on their number."""

from __future__ import annotations

import functools
import multiprocessing
import signal
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import cv2

from clip_rl_training.synthetic.operation import SyntheticOperation
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.stereo import CONVERGING, Rig

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Generator[Result, None, None]:
    """Results of ``work(job)`` in order, by `workers` processes; ends them all if interrupted.

    `work` is a function of a module, or a `functools.partial` of one: it travels to the processes.
    """
    if workers == 1 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(workers, len(jobs)), initializer=_quiet) as pool:
        yield from pool.imap(work, jobs, chunksize=1 if len(jobs) < 64 else 4)


def _quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


@functools.lru_cache(maxsize=1)
def operation_of(config: SceneConfig, seed: int, frames: int, rig: Rig = CONVERGING) -> SyntheticOperation:
    """The video of a seed, kept by a process for its next frame; arguments as of `SyntheticOperation`."""
    return SyntheticOperation(config, seed, frames, rig)
