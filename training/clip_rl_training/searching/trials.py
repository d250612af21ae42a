"""One trial: a short training in a process of its own, and what development frames say of its weights.

Every trial has the same seed, so all are shown scenes and views of the same random numbers, and begin with the same
weights: what differs in the answer is due to the parameters. Drawn scenes of other parameters take other turns in
their random numbers, so the numbers are common as far as scenes are alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from clip_rl_perception.errors import ClipRlError, one_line

from clip_rl_training.loop.interrupts import interrupts_flagged
from clip_rl_training.loop.run_state import DivergedError
from clip_rl_training.loop.trainer import Trainer
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.loop.training_module import TrainingModule
from clip_rl_training.searching.frame_sets import FrameSet, instrument_iou, load_frames


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a trial said."""

    scores: tuple[float, ...] = ()
    """Instrument IoU of each set of frames; empty where the training diverged."""
    seconds: float = 0.0
    """From the first step to the last score."""
    problem: str = ""
    """Why there are no scores."""
    stopped: str = ""
    """Why the whole search has to stop, in one line; "interrupted" after Ctrl-C."""


def run_trial(config: TrainConfig, frames: Sequence[FrameSet]) -> Answer:
    """Train as configured, or go on where an earlier call was stopped, and score the averaged weights.

    With no steps the weights are scored as the configuration has them begin.

    The folder keeps them as ``state.pt``: `start_from` takes it, and so does the next call, which only scores them.

    Raises:
        ClipRlError: what is no fault of the parameters: a full disk, unreadable frames.
    """
    begun = time.monotonic()
    folder = config.out / config.name
    trainer = Trainer(config)
    kept = (folder / "state.pt").is_file()
    trainer.start(resume=kept)
    if trainer.step < config.steps:
        try:
            with interrupts_flagged(trainer):
                trainer.fit()
        except DivergedError as error:
            return Answer(problem=str(error).split(";")[0], seconds=time.monotonic() - begun)
        if trainer.interrupted and trainer.step < config.steps:
            return Answer(stopped="interrupted")
        kept = False
    if not kept:
        trainer.save(finished=trainer.average.decay > 0)
    trainer.take_average()
    module = trainer.module
    assert isinstance(module, TrainingModule), "a search trains CLIP-RL"
    space = next(iter(module.spaces.values()))
    scores = tuple(
        instrument_iou(
            module.segmenter.eval(), space, load_frames(each, config.model.input_size), trainer.fabric.device
        )
        for each in frames
    )
    return Answer(scores, time.monotonic() - begun)


class TrialProcess:
    """A trial that runs beside this process, one thread of which could not be interrupted."""

    def __init__(self, config: TrainConfig, frames: Sequence[FrameSet]) -> None:
        """Begin it. What it prints goes to ``trial.log`` of its folder.

        Raises:
            ClipRlError: no process can be begun.
        """
        # Each is a fork of a process that has loaded torch and done nothing else: it begins at once.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self.connection, theirs = context.Pipe(duplex=False)
        self._name = config.name
        self._process: BaseProcess = context.Process(target=_work, args=(theirs, config, tuple(frames)))
        try:
            self._process.start()
        except (EOFError, OSError) as error:
            self.connection.close()
            raise ClipRlError(
                f"trial {config.name} cannot begin ({one_line(error)}): the machine has no room for another process, "
                "or the one that begins them was killed; what is finished is kept, the same command goes on"
            ) from error
        theirs.close()

    def answer(self) -> Answer:
        """Wait for what it says; a process that ended without a word is a reason to stop."""
        try:
            found = self.connection.recv()
        except (EOFError, OSError):
            found = None
        self._process.join()
        if isinstance(found, Answer):
            return found
        status = self._process.exitcode
        return Answer(stopped=f"trial {self._name} ended without an answer (exit status {status}); see its trial.log")

    def interrupt(self) -> None:
        """Let the step in progress end and its state be saved."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGINT)

    def kill(self) -> None:
        """End it at once; the last state is kept."""
        self._process.kill()
        self._process.join()


def _work(connection: Connection, config: TrainConfig, frames: tuple[FrameSet, ...]) -> None:
    # A group of its own: Ctrl-C reaches the search, which passes it on once.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = config.out / config.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "trial.log").open("ab") as log:
            for stream in (1, 2):  # below Python: libraries keep streams of their own
                os.dup2(log.fileno(), stream)
        answer = run_trial(config, frames)
    except KeyboardInterrupt:
        answer = Answer(stopped="interrupted")
    except ClipRlError as error:
        answer = Answer(stopped=str(error))
    except OSError as error:
        answer = Answer(stopped=f"cannot write to {folder}: {error.strerror}")
    with contextlib.suppress(BrokenPipeError):  # the search was killed: the weights wait for the next one
        connection.send(answer)
