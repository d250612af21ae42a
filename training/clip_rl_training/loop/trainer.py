"""The training loop: batches, steps, validation, the resumable state and what is done at the end.

A resumed run gives the same weights as one that was never interrupted.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import torch
import yaml
from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.typed_data import to_data
from torch import Tensor

from clip_rl_training.data.label_batch import Batch, stride_labels
from clip_rl_training.data.samples import Stills
from clip_rl_training.loop.batches import open_stills, training_batches, validation_batches
from clip_rl_training.loop.best_weights import BestWeights, Validated
from clip_rl_training.loop.fabric import open_fabric, precision_here, seed_step
from clip_rl_training.loop.finish import copy_checkpoint, farewell, finish
from clip_rl_training.loop.optimizer import build_optimizer, clip_gradients, hold_norms, set_learning_rate
from clip_rl_training.loop.retuning import retune_
from clip_rl_training.loop.run_lock import lock_run
from clip_rl_training.loop.run_log import RunLog, spoken
from clip_rl_training.loop.run_state import DivergedError, TrainError, read_state, write_state
from clip_rl_training.loop.run_task import check_task, task_of
from clip_rl_training.loop.start_from import REFINER, load_close_ups, load_start
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.loop.training_module import LossModule, TrainingModule
from clip_rl_training.loop.validate import ValidationResult, validate
from clip_rl_training.loop.weight_average import WeightAverage
from clip_rl_training.losses.segmentation_losses import class_weights


class Trainer:
    """One run: its network, optimiser, average, generators and step count."""

    def __init__(
        self,
        config: TrainConfig,
        stills: Stills | None = None,
        *,
        build: Callable[[TrainConfig], LossModule] = TrainingModule,
    ) -> None:
        """Build network and optimiser.

        Args:
            config: the run.
            stills: replaces the source that the configuration names.
            build: makes the network with its losses; a peer's, for comparison, in place of CLIP-RL's.
        """
        self.config = config
        if config.threads:
            torch.set_num_threads(config.threads)
        self.fabric = open_fabric(config)
        # In 16-mixed a gradient may overflow: the scaler then skips the step.
        self._may_overflow = precision_here(config) == "16-mixed"
        self.folder = config.out / config.name
        self.step = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.images = 0
        """Shown so far, to all processes together."""
        self.interrupted = False
        self.started_from = ""
        self.best = BestWeights(self.folder)
        self._lock: TextIO | None = None
        # Before the network: what is wrong with the data is told before weights are fetched.
        self.stills = stills if stills is not None else open_stills(config, self.fabric.global_rank, self.say)
        torch.manual_seed(config.seed)
        self.module: LossModule = build(config)
        if config.channels_last:
            self.module = self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.task = task_of(self.module.spaces, self.stills, config.seed)
        self.average = WeightAverage(self.module, config.optimizer.average)
        optimizer = build_optimizer(self.module, config.optimizer)
        self.wrapped, self.optimizer = self.fabric.setup(self.module, optimizer)
        self.average.to(self.fabric.device)
        # Synonyms: each process draws its own numbers.
        self.generator = torch.Generator().manual_seed(config.seed * 1000 + self.fabric.global_rank)
        self.pixels: dict[str, Tensor] = {}
        """How often each class was seen, by label space."""

    @property
    def state_path(self) -> Path:
        """Where this process keeps its resumable state; rank 0 holds the weights for all."""
        rank = self.fabric.global_rank
        return self.folder / ("state.pt" if rank == 0 else f"state-{rank}.pt")

    def say(self, text: str) -> None:
        """Print one line, from the first process only."""
        if self.fabric.is_global_zero:
            print(text, flush=True)

    def start(self, *, resume: bool) -> None:
        """Begin in a new folder, or load the state of an earlier call; no other process may train there meanwhile."""
        if self.fabric.is_global_zero and (self.folder.is_dir() or not resume):
            self._lock = lock_run(self.folder)
        if isinstance(self.module, TrainingModule):
            for note in self.module.segmenter.weights_notes:
                self.say(f"weights of the towers: {note}")
        if not resume and (self.folder / "state.pt").exists():
            raise TrainError(
                f"{self.folder} holds a run already: go on with --resume, or choose another --set name=, or delete it"
            )
        if self.config.start_from is not None and (not resume or self.config.losses.distillation > 0):
            self.started_from = load_start(self.module, self.config.start_from, self.say)
            if self.config.close_ups_of is not None:
                self.started_from += f", close-ups of {load_close_ups(self.module, self.config.close_ups_of)}"
            if isinstance(self.module, TrainingModule):
                self.started_from += retune_(self.module.segmenter, self.config)
                self.module.teach()
        if resume:
            self._restore()
        elif self.started_from:
            self.average.module.load_state_dict(self.module.state_dict())
            self.say(f"starting from the weights of {self.started_from}")
        if self.fabric.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(to_data(self.config), sort_keys=False)
            (self.folder / "config.yaml").write_text(text, encoding="utf-8")

    def fit(self, *, stop_after: int | None = None) -> None:
        """Train to the end, for `stop_after` steps, or until `interrupted` is set."""
        config = self.config
        last = config.steps if stop_after is None else min(config.steps, self.step + stop_after)
        log = RunLog(self.folder, config, self.step, self.say) if self.fabric.is_global_zero else None
        begun, first, before = time.monotonic(), self.step, self.seconds
        cpu_begun, cpu_before = time.process_time(), self.cpu_seconds
        try:
            if log is not None and config.validation.every and self.started_from and self.step == 0:
                self._validate(log)  # what training starts from: before and after are seen
            for batch in self._batches(last):
                report = self._train_step(batch)
                self.step += 1
                self.images += len(batch.images) * self.fabric.world_size
                elapsed = time.monotonic() - begun
                self.seconds = before + elapsed
                self.cpu_seconds = cpu_before + time.process_time() - cpu_begun
                if log is not None and (self.step % config.log_every == 0 or self.step == last):
                    log.train(self.step, report, rate=(self.step - first) / elapsed, seconds=self.seconds)
                every = config.validation.every
                if log is not None and every and (self.step % every == 0 or self.step == config.steps):
                    self._validate(log)
                if self.step % config.save_every == 0 or self.step == last or self.interrupted:
                    self.save()
                if self.interrupted:
                    break
        finally:
            if log is not None:
                log.close()

    def _validate(self, log: RunLog) -> None:
        result = self.score(averaged=self.average.decay > 0)
        log.validation(self.step, result, self._compared(result))

    def _compared(self, result: ValidationResult) -> str:
        """Keep the weights that were validated if none were better; says which are the best."""
        network = self.average.module if self.average.decay > 0 else self.module
        assert isinstance(network, TrainingModule), "peers are scored by clip-rl compare"
        score = result.scalars()["miou"]
        if self.best.offer(Validated(self.step, score, self.images, self.seconds), network.segmenter):
            return "the best so far"
        best = self.best.found
        return f"the best was {best.score:.3f} at step {best.step}" if best else "no score"

    def save(self, *, finished: bool = False) -> None:
        """Write the resumable state; see `write_state`. Of a `finished` one the averaged weights alone are kept."""
        state: dict[str, Any] = {
            "step": self.step,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "images": self.images,
            "generator": self.generator.get_state(),
            "pixels": self.pixels,
            "started_from": self.started_from,
            "task": self.task,
        }
        if self.fabric.is_global_zero:
            state |= {"average_updates": int(self.average.n_averaged) - 1, "best": self.best.state()}
            average = self.average.values if self.average.decay > 0 else {}
            state |= {"average": average} if average else {}
            if not finished:
                state["module"] = {
                    # What is not trained is equal in both and stored once.
                    name: average[name] if name in average and torch.equal(average[name], value) else value
                    for name, value in self.module.state_dict().items()
                }
                state["optimizer"] = self.optimizer.state_dict()
        write_state(self.state_path, state)
        if self.fabric.is_global_zero:
            self.best.forget_others()

    def finish(self) -> None:
        """Calibrate, round, score and write the shippable checkpoint and its card, from the averaged weights."""
        if self.config.classifier != "text":
            self.say(
                f"no checkpoint: classifier '{self.config.classifier}' is a control; {self.state_path} has weights"
            )
            return
        self.fabric.barrier()
        if self.fabric.is_global_zero:
            assert isinstance(self.module, TrainingModule), "only CLIP-RL has a checkpoint"
            self.take_average()
            last = Validated(self.step, math.nan, self.images, self.seconds)
            best, segmenter = self.best.found, self.module.segmenter
            if best is not None and best.step != self.step and self.best.kept():
                chosen = copy.deepcopy(segmenter)
                chosen.load_state_dict(self.best.weights())
                self.say(f"the best step, {best.step}:")
                self._finish(chosen, best, self.best.folder)
                self.say(f"the last step, {self.step}:")
            self._finish(segmenter, last, self.folder)
            if best is not None and best.step == self.step:
                copy_checkpoint(self.folder, self.best.folder)
            if self.average.decay > 0:  # else the network itself was rounded, which training does not go on from
                self.save(finished=True)
            self.best.forget()
            for line in farewell(self.config, self.stills, self.folder, best, self.step):
                self.say(line)
        self.fabric.barrier()

    def _finish(self, segmenter: ClipRlSegmenter, at: Validated, folder: Path) -> None:
        finish(self.config, segmenter, self.stills, folder=folder, at=at, say=self.say, started_from=self.started_from)

    def take_average(self) -> None:
        """Put the averaged weights, if an average is kept, into the network for good."""
        if self.average.decay > 0:
            self.module.load_state_dict(self.average.values)

    def _restore(self) -> None:
        state = read_state(self.folder / "state.pt")
        if any(name.startswith(REFINER) for name in state.get("module") or state["average"]):
            raise TrainError(
                f"{self.state_path} is of an earlier version, whose networks had a refiner: such a run cannot go on; "
                f"begin a new one with its weights: --set start_from={self.state_path} --set name=NAME"
            )
        check_task(state, self.task, steps=self.config.steps, folder=self.folder)
        try:
            # A finished run keeps its averaged weights alone, one without average none.
            self.module.load_state_dict(state.get("module") or state["average"])
            self.average.module.load_state_dict(state.get("average") or state["module"])
            if "optimizer" in state:
                self.optimizer.load_state_dict(state["optimizer"])
            elif int(state["step"]) < self.config.steps:
                self.say("the run was finished: it goes on from its averaged weights, the optimiser's moments anew")
        except (RuntimeError, KeyError, ValueError) as error:
            raise TrainError(f"{self.state_path} does not fit this configuration: {one_line(error, 200)}") from error
        self.average.n_averaged.fill_(int(state["average_updates"]) + 1)
        own = state if self.fabric.is_global_zero else read_state(self.state_path)
        if own["step"] != state["step"]:
            raise TrainError(
                f"{self.state_path} is of step {own['step']}, state.pt of {state['step']}; start without --resume"
            )
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.cpu_seconds = float(state.get("cpu_seconds", 0.0))
        self.images = int(state.get("images", 0))
        self.started_from = str(state.get("started_from", ""))
        self.best.restore(state.get("best"))
        self.generator.set_state(own["generator"])
        self.pixels = dict(own["pixels"])
        self.say(f"resumed {self.folder} at step {self.step} of {self.config.steps}")

    def _batches(self, last: int) -> Iterator[Batch]:
        loader = training_batches(
            self.config,
            self.stills,
            first_step=self.step,
            last_step=last,
            rank=self.fabric.global_rank,
            processes=self.fabric.world_size,
        )
        try:
            yield from loader
        except ClipRlError as error:
            text = str(error)
            if "Original Traceback" in text:
                # A loading process sends its whole traceback along; what the user can mend is its last line.
                text = text.strip().splitlines()[-1].partition(": ")[2]
            raise TrainError(f"{text}; training stops at step {self.step}") from error

    def _train_step(self, batch: Batch) -> dict[str, float]:
        config = self.config
        point = config.curriculum.at(self.step, config.steps)
        self.module.train()
        if batch.close_ups or config.optimizer.hold_norms:
            hold_norms(self.module)
        weights = self._class_weights(batch)
        shown = batch._replace(
            images=batch.images.to(self.fabric.device, non_blocking=True),
            labels=batch.labels.to(self.fabric.device, non_blocking=True),
        )
        seed_step(config.seed, self.step, self.fabric.global_rank)
        answer: tuple[Tensor, dict[str, float]] = self.wrapped(shown, point, self.generator, weights)
        loss, report = answer
        if not math.isfinite(report["loss"]):
            raise DivergedError(
                f"loss is {report['loss']} at step {self.step} ({spoken(report)}); training stops. The last good "
                f"state in {self.folder} is kept: --resume with a lower optimizer.learning_rate or precision=32-true"
            )
        set_learning_rate(self.optimizer, config.optimizer, point.learning_rate)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        norms = clip_gradients(self.module, config.optimizer.clip)
        if not self._may_overflow and not all(math.isfinite(norm) for norm in norms.values()):
            raise DivergedError(
                f"gradient is not finite at step {self.step} ({spoken(norms)}); training stops before it reaches the "
                f"weights. The last good state in {self.folder} is kept: --resume, with precision=32-true if need be"
            )
        report |= norms
        self.optimizer.step()
        if self.average.decay > 0:
            self.average.update_parameters(self.module)
        report["learning_rate"] = config.optimizer.learning_rate * point.learning_rate
        report |= {f"curriculum/{name}": float(value) for name, value in point._asdict().items()}
        return report

    def _class_weights(self, batch: Batch) -> Tensor | None:
        power = self.config.losses.class_power
        # A branch for close-ups has a loss without classes' weights.
        named = batch.close_ups and self.config.model.close_up.widths
        if power <= 0 or named:
            return None
        # Close-ups have statistics of their own: far more of them is instrument.
        key = f"{batch.space}/close-ups" if batch.close_ups else batch.space
        counts = self.pixels.setdefault(key, torch.zeros(len(self.module.spaces[batch.space]), dtype=torch.float64))
        seen = stride_labels(batch.labels)
        counts += torch.bincount(seen[seen < len(counts)], minlength=len(counts)).double()
        return class_weights(counts, power=power).to(self.fabric.device)

    def score(self, *, averaged: bool = False) -> ValidationResult:
        """Validate the present weights, or their average."""
        module = (self.average.module if averaged else self.module).eval()
        assert isinstance(module, TrainingModule), "peers are scored by clip-rl compare"
        name, space = next(iter(module.spaces.items()))
        return validate(
            module.segmenter,
            validation_batches(self.config, self.stills),
            space,
            device=self.fabric.device,
            pictures=self.config.validation.pictures,
            text=module.fixed_class_vectors(name),
        )
