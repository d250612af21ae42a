"""The search: proposals to trials, answers to controllers, the best of each to the judge; all of it resumable.

What is finished lies in the journal; controllers are brought to where they were by telling them the same answers again.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.typed_data import ConfigError

from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.searching.controllers import Controller
from clip_rl_training.searching.frame_sets import FrameSet
from clip_rl_training.searching.search_config import SearchConfig
from clip_rl_training.searching.search_journal import UNCHANGED, Journal, Trial, trial_name
from clip_rl_training.searching.search_space import Point, SearchSpace
from clip_rl_training.searching.trials import Answer, TrialProcess
from clip_rl_training.searching.weight_sum import SUM, read_sum, score_sum

WORST = 0.0
"""Score of a trial without one, where no trial before it has one: nothing is found."""


class SearchInterruptedError(Exception):
    """Ctrl-C: what is finished is kept, the same command goes on."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A trial that is not finished."""

    controller: str
    number: int
    seed: int
    point: Point
    config: TrainConfig
    frames: tuple[FrameSet, ...]


class _Line:
    """A controller and the generation that it waits for."""

    def __init__(self, name: str, controller: Controller) -> None:
        self.name = name
        self.controller = controller
        self.first = 1
        self.points = controller.propose()
        self.begun: set[int] = set()
        self.known: list[float] = []


class Search:
    """One search bound to its frames and its folder."""

    def __init__(
        self,
        config: SearchConfig,
        space: SearchSpace,
        controllers: Mapping[str, Controller],
        *,
        development: Sequence[FrameSet],
        out: Path,
        workers: int = 1,
        say: Callable[[str], None] = print,
        begin: Callable[[TrainConfig, tuple[FrameSet, ...]], TrialProcess] = TrialProcess,
    ) -> None:
        """Read the journals of an earlier call.

        Args:
            config: the search.
            space: its space.
            controllers: by name, at their beginning.
            development: frames that answer.
            out: folder of the search.
            workers: trials at the same time.
            say: prints one line.
            begin: begins a trial.

        Raises:
            ClipRlError: a damaged journal, or one of other proposals.
        """
        self.config = config
        self.space = space
        self.development = tuple(development)
        self.out = out
        self.journal = Journal(out / "journal.jsonl")
        self.judgement = Journal(out / "judgement.jsonl")
        self._controllers = controllers
        self._workers = workers
        self._say = say
        self._begin = begin
        self._train = space.applied(space.unchanged)
        self._running: dict[Any, tuple[TrialProcess, Wanted]] = {}

    @property
    def controllers(self) -> tuple[str, ...]:
        """Names of those that search, and of those that did."""
        return tuple(dict.fromkeys([*self._controllers, *(trial.controller for trial in self._of_search())]))

    def score(self, trial: Trial) -> float:
        """Mean over the development sets; NaN where the training diverged."""
        return float(np.mean(trial.scores[: len(self.development)])) if trial.scores else math.nan

    def trials(self, controller: str) -> list[Trial]:
        """Of one controller, in the order of proposals."""
        found = [trial for trial in self._of_search() if trial.controller == controller]
        return sorted(found, key=lambda trial: trial.number)

    def unchanged(self) -> Trial | None:
        """Trial 0."""
        return self.journal.find(UNCHANGED, 0, self._train.seed)

    @property
    def seed(self) -> int:
        """Of all trainings of the search."""
        return self._train.seed

    def ranked(self, controller: str) -> list[Trial]:
        """Those of a controller that have a score, the best first, of equal ones the first."""
        scored = [trial for trial in self.trials(controller) if trial.scores]
        return sorted(scored, key=lambda trial: (-self.score(trial), trial.number))

    def best(self, controller: str) -> Trial | None:
        """The best of a controller."""
        return next(iter(self.ranked(controller)), None)

    def kept(self) -> list[Trial]:
        """Trials whose weights are kept, the best first, and trial 0."""
        best = [trial for name in self.controllers for trial in self.ranked(name)[: self.config.keep]]
        base = self.unchanged()
        return sorted(best, key=lambda trial: -self.score(trial)) + ([base] if base else [])

    def weights_of(self, trial: Trial) -> Path:
        """Where they lie, of one that is kept."""
        return self.out / "trials" / trial.name / "state.pt"

    def has_weights(self, trial: Trial) -> bool:
        """Whether they are there; a search that kept fewer before has not those of all that would be kept now."""
        return self.weights_of(trial).is_file()

    def run(self, trials: int, after: Callable[[], None] = lambda: None) -> None:
        """Do trial 0 and `trials` of every controller, those that are not finished; call `after` after each.

        Raises:
            SearchInterruptedError: by Ctrl-C.
            ClipRlError: what stops a search: no score of trial 0, a full disk, a journal of other proposals.
        """
        self._tidy()
        lines = [_Line(name, controller) for name, controller in self._controllers.items()]

        def following() -> Wanted | Trial | None:
            if self.unchanged() is None:
                return None if self._running else self._wanted(UNCHANGED, 0, self.space.unchanged)
            open_lines = [line for line in lines if self._advance(line, trials)]
            waiting = [line for line in open_lines if self._unbegun(line, trials)]
            if not waiting:
                return None
            line = min(waiting, key=lambda line: line.first + len(line.begun))
            number = self._unbegun(line, trials)[0]
            line.begun.add(number)
            return self._wanted(line.name, number, line.points[number - line.first])

        def done(trial: Trial) -> None:
            self.journal.add(trial)
            self._tell(trial)
            if trial.controller == UNCHANGED and not trial.scores:
                raise ClipRlError(f"the unchanged configuration diverges already: {trial.problem}; change 'train'")
            self._tidy()
            after()

        self._process(following, done)

    def judge(self, judging: Sequence[FrameSet], after: Callable[[], None] = lambda: None) -> None:
        """Score the unchanged configuration, the best of each controller and the sum on frames nothing has seen, once.

        Each is trained anew with `again` more seeds, which the search did not choose it by.

        Raises:
            SearchInterruptedError: by Ctrl-C; what is judged is kept.
            ClipRlError: as `run`; no trial to judge.
        """
        finalists = [trial for trial in [self.unchanged(), *map(self.best, self.controllers)] if trial is not None]
        jobs = [
            self._wanted(trial.controller, trial.number, np.array(trial.point), seed, (*self.development, *judging))
            for seed in range(self._train.seed, self._train.seed + self.config.again + 1)
            for trial in finalists
        ]
        left = [job for job in jobs if self.judgement.find(job.controller, job.number, job.seed) is None]
        if (found := read_sum(self.out)) and self.judgement.find(SUM, 0, self._train.seed) is None:
            begun = time.monotonic()
            scores = score_sum(self._train, self.out, (*self.development, *judging))
            seconds = round(time.monotonic() - begun, 1)
            self.judgement.add(Trial(SUM, 0, self._train.seed, (), dict(found.shares), scores, seconds))
            after()

        def done(trial: Trial) -> None:
            self.judgement.add(trial)
            self._tell(trial, "judged ")
            after()

        self._process(lambda: left.pop(0) if left else None, done)
        self._tidy()

    def _of_search(self) -> list[Trial]:
        return [trial for trial in self.journal.trials if trial.controller != UNCHANGED]

    def _advance(self, line: _Line, trials: int) -> bool:
        """Let a controller learn as long as its generation is finished; whether it has trials to do."""
        while line.first <= trials:
            found = [self._known(line, number) for number in range(line.first, line.first + len(line.points))]
            if any(trial is None for trial in found):
                return True
            scores = [self.score(trial) for trial in found if trial is not None]
            worst = min([score for score in (*line.known, *scores) if not math.isnan(score)], default=WORST)
            scores = [worst if math.isnan(score) else score for score in scores]
            line.known += scores
            line.controller.learn(scores)
            line.first, line.begun = line.first + len(line.points), set()
            line.points = line.controller.propose()
        return False

    def _unbegun(self, line: _Line, trials: int) -> list[int]:
        last = min(trials, line.first + len(line.points) - 1)
        return [
            number
            for number in range(line.first, last + 1)
            if number not in line.begun and self._known(line, number) is None
        ]

    def _known(self, line: _Line, number: int) -> Trial | None:
        trial = self.journal.find(line.name, number, self._train.seed)
        proposed = line.points[number - line.first]
        if trial is not None and not np.allclose(trial.point, proposed, atol=1e-6):
            raise ClipRlError(
                f"{self.journal.path}: {trial.name} is not what {line.name} proposes there now: it was written by "
                "another version; choose another --out"
            )
        return trial

    def _wanted(
        self,
        controller: str,
        number: int,
        point: Point,
        seed: int | None = None,
        frames: tuple[FrameSet, ...] | None = None,
    ) -> Wanted | Trial:
        """A trial to do, or one that needs none: its values do not go together."""
        own = self._train.seed
        seed = own if seed is None else seed
        name = trial_name(controller, number) + (f"-seed{seed}" if seed != own else "")
        try:
            config = self.space.applied(point, {"name": name, "out": str(self.out / "trials"), "seed": seed})
        except ConfigError as error:
            return self._finished(controller, number, seed, point, Answer(problem=str(error)))
        return Wanted(controller, number, seed, point, config, frames or self.development)

    def _process(self, following: Callable[[], Wanted | Trial | None], done: Callable[[Trial], None]) -> None:
        """Keep all workers busy until nothing follows and nothing runs."""
        try:
            while True:
                while len(self._running) < self._workers and (job := following()) is not None:
                    if isinstance(job, Trial):
                        done(job)
                        continue
                    process = self._begin(job.config, job.frames)
                    self._running[process.connection] = (process, job)
                if not self._running:
                    return
                for connection in wait(list(self._running)):
                    process, job = self._running.pop(connection)
                    done(self._trial(job, process))
        except KeyboardInterrupt:
            self._stop()
            raise SearchInterruptedError from None
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        """Let what runs save its state; a second Ctrl-C ends it at once."""
        running = [process for process, _ in self._running.values()]
        self._running.clear()
        try:
            for process in running:
                process.interrupt()
            for process in running:
                process.answer()
        except KeyboardInterrupt:
            for process in running:
                process.kill()

    def _trial(self, job: Wanted, process: TrialProcess) -> Trial:
        answer = process.answer()
        if answer.stopped == "interrupted":
            raise SearchInterruptedError
        if answer.stopped:
            raise ClipRlError(
                f"{job.config.name}: {answer.stopped}; what is finished is kept, the same command goes on"
            )
        return self._finished(job.controller, job.number, job.seed, job.point, answer)

    def _finished(self, controller: str, number: int, seed: int, point: Point, answer: Answer) -> Trial:
        return Trial(
            controller=controller,
            number=number,
            seed=seed,
            point=tuple(round(float(value), 9) for value in point),
            values=self.space.values(point),
            scores=tuple(round(score, 6) for score in answer.scores),
            seconds=round(answer.seconds, 1),
            problem=answer.problem,
        )

    def _tell(self, trial: Trial, begin: str = "") -> None:
        name = trial.name + (f" with seed {trial.seed}" if trial.seed != self._train.seed else "")
        if not trial.scores:
            self._say(f"{begin}{name}: no score, counts as worst: {trial.problem}")
            return
        base = self.unchanged()
        gain = f" ({self.score(trial) - self.score(base):+.4f})" if base not in (None, trial) and not begin else ""
        shown = self.score(trial) if not begin else float(np.mean(trial.scores[len(self.development) :]))
        self._say(f"{begin}{name}: IoU {shown:.4f}{gain} in {trial.seconds:.0f} s")

    def _tidy(self) -> None:
        """Keep of all finished trials the weights of the unchanged one and of each controller's best ones."""
        kept = {trial.name for trial in self.kept()}
        finished = {trial.name for trial in self.journal.trials} - kept
        own = self._train.seed
        finished |= {f"{trial.name}-seed{trial.seed}" for trial in self.judgement.trials if trial.seed != own}
        for name in finished:
            shutil.rmtree(self.out / "trials" / name, ignore_errors=True)
