"""Dropout depends on seed and step alone: a resumed run draws as one that nothing interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from bar_runs import Bars, assert_same_weights, config
from clip_rl_training.data.label_batch import Batch
from clip_rl_training.loop.trainer import Trainer
from clip_rl_training.loop.training_module import TrainingModule
from torch import Tensor
from torch.nn import functional


class Forgetful(TrainingModule):
    """Drops a quarter of what it sees, by torch's common random numbers as dropout layers do."""

    def forward(self, batch: Batch, *others: Any) -> tuple[Tensor, dict[str, float]]:
        kept = functional.dropout(batch.images.float(), 0.25, self.training).clamp(max=255)
        return super().forward(batch._replace(images=kept.to(torch.uint8)), *others)


def run(folder: Path, *stops: int) -> Trainer:
    for stop in stops:
        trainer = Trainer(config(folder, "validation.every=0"), Bars(), build=Forgetful)
        trainer.start(resume=trainer.state_path.is_file())
        trainer.fit(stop_after=stop)
    return trainer


def test_a_network_with_dropout_resumes_to_the_bit(tmp_path: Path) -> None:
    assert_same_weights(run(tmp_path / "whole", 4), run(tmp_path / "halves", 2, 2))
