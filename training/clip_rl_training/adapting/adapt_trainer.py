"""The trainer, with another idea of what is best: agreement of mirror images on frames held out, teacher and synthetic
scenes kept. What the teacher is sure of, one look knows nearly all from the start: that tells no step from another.

Everything else (steps, state, average, resuming) is `loop.trainer`'s.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from torch import Tensor

from clip_rl_training.adapting.adapt_config import AdaptConfig
from clip_rl_training.adapting.mixed_stills import FRAME_CAPTION, LabelledFrames, MixedStills
from clip_rl_training.adapting.self_consistency import mirror_agreement
from clip_rl_training.data.label_batch import Batch
from clip_rl_training.loop.batches import validation_batches
from clip_rl_training.loop.best_weights import Validated
from clip_rl_training.loop.optimizer import hold_norms
from clip_rl_training.loop.run_log import RunLog
from clip_rl_training.loop.trainer import Trainer
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.loop.training_module import TrainingModule
from clip_rl_training.loop.validate import validate
from clip_rl_training.losses.segmentation_losses import IGNORE


class AdaptingModule(TrainingModule):
    """Frames teach their labels, and scenes theirs, or what the checkpoint said of them; norms may keep statistics."""

    def __init__(self, config: TrainConfig, *, hold: bool) -> None:
        super().__init__(config)
        self._hold = hold
        self._imitates = config.losses.distillation > 0

    def targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """With distillation, labels of frames alone, and scenes alone for the teacher: it is what is to stay."""
        labels, everywhere = super().targets(batch)
        if not self._imitates:
            return labels, everywhere
        frame = torch.tensor([caption == FRAME_CAPTION for caption in batch.captions], device=labels.device)
        of_frames = frame[:, None, None]
        return labels.where(of_frames, IGNORE), labels.where(~of_frames, IGNORE)

    def train(self, mode: bool = True) -> AdaptingModule:
        """As `nn.Module.train`, but for batch norms that are held."""
        super().train(mode)
        if mode and self._hold:
            hold_norms(self)
        return self


class AdaptTrainer(Trainer):
    """One run on frames and scenes, which stops when nothing gets better."""

    def __init__(
        self,
        config: TrainConfig,
        stills: MixedStills,
        held_out: LabelledFrames,
        adapt: AdaptConfig,
        floor: float,
        least: float,
        say: Callable[[str], None],
    ) -> None:
        """Prepare it.

        Args:
            config: of the training.
            stills: what is learned from.
            held_out: frames that are not, with what the teacher says of them.
            adapt: of the adaptation.
            floor: IoU of instruments on synthetic validation scenes below which no step is the best.
            least: IoU with what the teacher is sure of on the frames held out, likewise.
            say: told one line at a time.
        """
        self._say = say
        super().__init__(config, stills, build=functools.partial(AdaptingModule, hold=adapt.norms == "kept"))
        self._held_out, self._patience, self._floor, self._least = held_out, adapt.patience, floor, least
        self._agreement = self._mirrors = math.nan

    def say(self, text: str) -> None:
        """Tell one line, from the first process only."""
        if self.fabric.is_global_zero:
            self._say(text)

    @property
    def settled(self) -> bool:
        """Whether so many validations passed without a better one that going on is of no use."""
        best, every = self.best.found, self.config.validation.every
        return bool(self._patience and every and best and self.step - best.step >= self._patience * every)

    def _validate(self, log: RunLog) -> None:
        module = self.average.module if self.average.decay > 0 else self.module
        assert isinstance(module, TrainingModule)
        space = next(iter(module.spaces.values()))
        batches, network, device = validation_batches(self.config, self._held_out), module.segmenter, self.fabric.device
        self._agreement = validate(network.eval(), batches, space, device=device).scalars()["instrument_iou"]
        batches = validation_batches(self.config, self._held_out)
        self._mirrors = mirror_agreement(network, (batch.images.to(device) for batch in batches), space)
        super()._validate(log)
        self.interrupted = self.interrupted or self.settled  # the state is saved, and `fit` ends

    def _compared(self, result: Any) -> str:
        network = self.average.module if self.average.decay > 0 else self.module
        assert isinstance(network, TrainingModule)
        told = f"on frames held out mirror images agree by {self._mirrors:.3f}, with the teacher {self._agreement:.3f}"
        synthetic = result.scalars()["instrument_iou"]
        if synthetic < self._floor:
            return f"{told}; too little on synthetic scenes, at least {self._floor:.3f} is wanted"
        if not self._agreement >= self._least:
            return f"{told}; too far from the teacher, at least {self._least:.3f} is wanted"
        if self.best.offer(Validated(self.step, self._mirrors, self.images, self.seconds), network.segmenter):
            return f"{told}, the best so far"
        best = self.best.found
        return f"{told}; the best was {best.score:.3f} at step {best.step}" if best else told

    def adapted(self) -> tuple[ClipRlSegmenter, Validated]:
        """The network with the best weights, and what is known of them; at step 0 they are those it began with."""
        assert isinstance(self.module, TrainingModule)
        best = self.best.found
        if best is None or not self.best.kept():
            return self.module.segmenter, Validated(0, math.nan, 0, 0.0)
        self.module.segmenter.load_state_dict(self.best.weights())
        return self.module.segmenter, best
