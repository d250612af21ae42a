"""One look taught by the mean of several: the divergence by hand, the teacher, and a run with one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from bar_runs import Bars, assert_same_weights, config, trained
from clip_rl_perception.typed_data import ConfigError
from clip_rl_training.data.label_batch import stride_labels
from clip_rl_training.loop.batches import training_batches
from clip_rl_training.loop.trainer import Trainer
from clip_rl_training.losses.distillation import Teacher, divergence


def test_divergence_by_hand_leaves_out_ignored_pixels() -> None:
    said = torch.tensor([[0.5, 0.5], [0.75, 0.25], [0.1, 0.9]]).T[None, :, None]
    taught = torch.tensor([[0.75, 0.25], [1.0, 0.0], [0.9, 0.1]]).T[None, :, None]
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5) + math.log(4 / 3)) / 2
    found = divergence(said.log(), taught, torch.tensor([[[0, 1, 255]]]))
    assert found.item() == pytest.approx(expected, rel=1e-6)
    assert divergence(said.log(), said, torch.tensor([[[0, 1, 0]]])).item() == pytest.approx(0.0, abs=1e-7)
    assert divergence(said.log(), taught, torch.full((1, 1, 3), 255)).item() == 0.0


def test_a_teacher_says_the_mean_over_mirror_images_and_stays(tmp_path: Path) -> None:
    module = Trainer(config(tmp_path), Bars()).module
    net, space = module.segmenter, module.spaces["binary"]
    teacher = Teacher(net, 4)
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    found = teacher.probabilities(images, space)
    net.eval()
    with torch.no_grad():
        text, seen = net.encode_text(space), []
        for dims in ((), (2,), (2, 3), (3,)):
            seen.append(net.decode(images.flip(dims), text).logits.softmax(1).flip(dims))
        assert torch.allclose(found, torch.stack(seen).mean(0), atol=1e-6)
        assert not torch.allclose(found, seen[0], atol=1e-4), "the looks differ"
        for weight in net.parameters():
            weight.zero_()
    assert torch.equal(teacher.probabilities(images, space), found)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(config(tmp_path_factory.mktemp("start"))).folder / "state.pt"


def test_a_run_with_a_teacher_resumes_to_the_bit(tmp_path: Path, start: Path) -> None:
    settings = (f"start_from={start}", "losses.distillation=1.5", "validation.every=0", "log_every=1")
    whole = trained(config(tmp_path / "whole", *settings))
    trained(config(tmp_path / "halves", *settings), stop_after=2)
    assert_same_weights(whole, trained(config(tmp_path / "halves", *settings), resume=True))
    assert "distillation" in (whole.folder / "metrics.csv").read_text(encoding="utf-8")
    assert not any("teacher" in name for name in whole.module.state_dict())


def test_what_is_taught_counts_beside_the_truth(tmp_path: Path, start: Path) -> None:
    settings = (f"start_from={start}", "losses.distillation=1.5")
    trainer = Trainer(config(tmp_path, *settings), Bars())
    trainer.start(resume=False)
    module, point = trainer.module, trainer.config.curriculum.at(0, 4)
    batch = next(iter(training_batches(trainer.config, Bars(), first_step=0, last_step=1)))
    teacher = module.teacher
    assert teacher is not None

    def loss(teacher: Teacher | None) -> tuple[float, dict[str, float]]:
        module.teacher = teacher
        module.eval()
        total, report = module(batch, point, torch.Generator().manual_seed(0))
        return total.item(), report

    alone, _ = loss(None)
    taught, report = loss(teacher)
    net, space = module.segmenter, module.spaces[batch.space]
    pixels, labels = net.prepare(batch.images), stride_labels(batch.labels)
    with torch.no_grad():
        logits = net.decode(pixels, net.encode_text(space)).logits
    expected = divergence(logits, teacher.probabilities(pixels, space), labels).item()
    assert report["distillation"] == pytest.approx(expected, rel=1e-4) and expected > 0
    assert taught - alone == pytest.approx(1.5 * expected, rel=1e-3)


def test_without_weights_to_start_from_nobody_can_teach(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"distillation is 1\.0; expected .* start_from"):
        config(tmp_path, "losses.distillation=1.0")
