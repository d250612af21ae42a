"""Teaching the instance head: the rest of the network is held still, so masks stay what they are to the bit.

One batch: scenes, each as one of its mirror images, through the frozen encoder and decoder; the head's losses on
what it says; AdamW with a cosine schedule; an average of the weights is what is kept.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from clip_rl_perception.model.instance_head import InstanceHead
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from clip_rl_training.instances.instance_losses import InstanceBatch, instance_loss
from clip_rl_training.instances.instance_scenes import InstanceScenes
from clip_rl_training.instances.instance_targets import InstanceTargets
from clip_rl_training.instances.instance_validation import Scores, score_line
from clip_rl_training.loop.metrics_file import MetricsFile
from clip_rl_training.loop.run_state import TrainError, read_state, write_state
from clip_rl_training.loop.run_task import check_task
from clip_rl_training.loop.weight_average import WeightAverage


@dataclasses.dataclass(frozen=True)
class InstanceTraining:
    """How the head learns."""

    steps: int = 4800
    """Batches."""
    batch: int = 16
    """Scenes of one."""
    learning_rate: float = 2e-3
    """At its peak, after a twentieth of the steps; it falls to a hundredth of itself."""
    weight_decay: float = 0.02
    """Of AdamW."""
    average: float = 0.998
    """Decay of the average of the weights."""
    save_every: int = 200
    """Steps between resumable states."""
    log_every: int = 50
    """Steps between lines."""
    score_every: int = 800
    """Steps between scores on scenes that are not trained on."""


class _Batches(Dataset[InstanceBatch]):
    """Batch number i of the run, for the loading process."""

    def __init__(self, scenes: InstanceScenes, config: InstanceTraining) -> None:
        self._scenes, self._config = scenes, config

    def __len__(self) -> int:
        return self._config.steps

    def __getitem__(self, step: int) -> InstanceBatch:
        first = step * self._config.batch
        return as_batch([self._scenes.training(first + index) for index in range(self._config.batch)])


def as_batch(scenes: list[InstanceTargets]) -> InstanceBatch:
    """Scenes as tensors."""

    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(scene, name) for scene in scenes]))

    return InstanceBatch(
        stack("rgb"), stack("instance").long(), stack("fields"), stack("working_end").float(), stack("peaks")
    )


class InstanceTrainer:
    """A run: the head's weights, their average and the optimiser, resumable after any step."""

    def __init__(
        self,
        segmenter: ClipRlSegmenter,
        scenes: InstanceScenes,
        config: InstanceTraining,
        folder: Path,
        *,
        device: str = "cpu",
        say: Callable[[str], None] = print,
        score: Callable[[ClipRlSegmenter], Scores] | None = None,
        task: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin a run.

        Args:
            segmenter: with an `instance_head`; everything else of it stays as it is.
            scenes: to learn from.
            config: how.
            folder: of the run, for its state.
            device: that trains.
            say: told a line now and then.
            score: scores the network with the averaged head; None: it is not scored on the way.
            task: plain values that a run has to begin with, by name, to go on with another one's state.

        Raises:
            TrainError: the network has no such head.
        """
        if segmenter.instance_head is None:
            raise TrainError("the network has no instance head: set model.instance_head.width, for example to 48")
        self.interrupted = False
        self.step = 0
        self.say = say
        self._config, self._scenes, self._device, self._score = config, scenes, torch.device(device), score
        self._network = segmenter.to(self._device).requires_grad_(False).eval()
        self._head = segmenter.instance_head.requires_grad_(True)
        self._begun = {name: value.clone() for name, value in self._head.state_dict().items()}
        """What the head was before anything was learned."""
        self._average = WeightAverage(self._head, config.average)
        self._optimizer = torch.optim.AdamW(
            self._head.parameters(), config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self._task = dict(task or {})
        self._path, self._metrics_path = folder / "instances.pt", folder / "metrics.csv"

    def resume(self) -> None:
        """Go on where the last state was written. Raises `TrainError`: there is none that fits."""
        state = read_state(self._path)
        check_task(state, self._task, steps=self._config.steps, folder=self._path.parent)
        try:
            self._head.load_state_dict(state["head"])
            self._average.load_state_dict(state["average"])
            self._optimizer.load_state_dict(state["optimizer"])
            # Of the run's first call: this one's options may name another head. States of before lack it.
            self._begun = state.get("begun", self._begun)
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainError(f"{self._path} does not fit this head; choose another folder") from error
        self.step = int(state["step"])
        self.say(f"resumed at step {self.step} of {self._config.steps}")

    def fit(self) -> None:
        """Train to the end, or until `interrupted` is set; the state is written either way, values to metrics.csv."""
        config = self._config
        self._metrics_path.parent.mkdir(parents=True, exist_ok=True)
        metrics = MetricsFile(self._metrics_path, after=self.step)
        begun, first = time.monotonic(), self.step
        loader = DataLoader(
            _Batches(self._scenes, config), batch_size=None, sampler=range(self.step, config.steps), num_workers=1,
            prefetch_factor=4,
        )  # fmt: skip
        sums: dict[str, float] = {}
        summed = 0
        for batch in loader:
            for name, value in self._train_step(InstanceBatch(*batch)).items():
                sums[name] = sums.get(name, 0.0) + value
            self.step += 1
            summed += 1
            if self.step % config.log_every == 0 or self.step == config.steps:
                rate = (self.step - first) / (time.monotonic() - begun)
                means = {name: value / summed for name, value in sums.items()}
                told = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
                metrics.add(self.step, means)
                self.say(f"step {self.step}/{config.steps}  {told}  {rate:.2f} steps/s")
                sums.clear()
                summed = 0
            if self._score is not None and self.step % config.score_every == 0:
                scores = self._scored(self._score)
                metrics.add(self.step, _columns(scores))
                self.say(f"step {self.step}/{config.steps}  {score_line(scores)}")
            if self.step % config.save_every == 0 or self.step == config.steps or self.interrupted:
                self.save()
            if self.interrupted:
                break

    def _train_step(self, batch: InstanceBatch) -> dict[str, float]:
        config, share = self._config, self.step / self._config.steps
        rate = min(1.0, share / 0.05 + 0.02) * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * rate
        batch = InstanceBatch(*(values.to(self._device) for values in batch))
        with torch.autocast(self._device.type, torch.bfloat16):
            with torch.no_grad():
                pixels = (self._network.prepare(batch.images) - self._network.mean) / self._network.std
                pyramid, _ = self._network.encoder(pixels)
                features = self._network.decoder(pyramid)
            self._head.train()
            said = self._head(pyramid, features)
        loss, report = instance_loss(said.float(), batch)
        if not math.isfinite(loss.item()):
            raise TrainError(f"loss is {loss.item()} at step {self.step}; the state in {self._path} is kept")
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._head.parameters(), 5.0)
        self._optimizer.step()
        self._average.update_parameters(self._head)
        return report

    def _scored(self, score: Callable[[ClipRlSegmenter], Scores]) -> Scores:
        """Scores with the average as it stands; nothing of the run changes."""
        self._network.instance_head = cast(InstanceHead, self._average.module)
        try:
            return score(self._network)
        finally:
            self._network.instance_head = self._head

    def save(self) -> None:
        """Write the resumable state."""
        state: dict[str, Any] = {
            "step": self.step,
            "head": self._head.state_dict(),
            "begun": self._begun,
            "average": self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "task": self._task,
        }
        write_state(self._path, state)

    def take_average(self, share: float = 1.0) -> ClipRlSegmenter:
        """The network with the averaged head, in evaluation mode.

        Args:
            share: how far from the head as the run began to the averaged one (WiSE-FT, arXiv 2109.01903); 1: all of it.
        """
        values = self._average.values
        self._head.load_state_dict(
            {
                name: torch.lerp(self._begun[name].to(value), value, share) if value.is_floating_point() else value
                for name, value in values.items()
            }
        )
        return self._network.eval()


def _columns(scores: Scores) -> dict[str, float]:
    """Known scores by the names of their columns in metrics.csv."""
    return {
        f"{kind.replace(' ', '_')}/{name}": value
        for kind, each in scores.items()
        for name, value in each.items()
        if value is not None
    }
