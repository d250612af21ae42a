"""When an adapted network is to be trusted, and how far a network agrees with itself."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from clip_rl_perception.labels import LabelSpace, label_space_from_names
from clip_rl_perception.typed_data import to_data
from clip_rl_training.adapting.adapt_config import TrustConfig
from clip_rl_training.adapting.self_consistency import Consistency, mirror_agreement
from clip_rl_training.adapting.verdict import Measured, doubts, finite, measured_from

BEFORE = Measured(Consistency(frames=40, mirrors=0.70, consistency=0.80, teacher=0.75, area=0.9), 0.72, 0.5)
AFTER = Measured(Consistency(frames=40, mirrors=0.76, consistency=0.82, teacher=0.83, area=1.0), 0.73, 0.5)


def changed(**fields: float) -> Measured:
    synthetic = fields.pop("synthetic", AFTER.synthetic)
    return Measured(dataclasses.replace(AFTER.real, **fields), synthetic)


def test_what_gains_everywhere_is_trusted() -> None:
    assert doubts(BEFORE, AFTER, TrustConfig()) == []


@pytest.mark.parametrize(
    ("worse", "said"),
    [
        ({"mirrors": 0.70}, "mirror images agree by 0.700 IoU, before by 0.700"),
        ({"mirrors": 0.704}, "mirror images agree"),
        ({"consistency": 0.79}, "from frame to frame masks agree by 0.790"),
        ({"teacher": 0.72}, "one plain look agrees with what the teacher is sure of by 0.720"),
        ({"area": 0.4}, "instruments cover 0.40 times"),
        ({"area": 1.7}, "instruments cover 1.70 times"),
        ({"synthetic": 0.67}, "synthetic scenes fell from 0.720 to 0.670"),
        ({"mirrors": math.nan}, "mirror images agree by nan"),
        ({"area": math.nan}, "instruments cover nan"),
    ],
)
def test_one_measure_that_does_not_gain_is_enough_to_doubt(worse: dict[str, float], said: str) -> None:
    [doubt] = doubts(BEFORE, changed(**worse), TrustConfig())
    assert doubt.startswith(said)


def test_what_the_teacher_is_sure_of_may_be_known_as_well_as_before() -> None:
    assert doubts(BEFORE, changed(teacher=0.74), TrustConfig()) == []


def test_mirror_images_of_a_network_agree_as_far_as_they_do() -> None:
    space = label_space_from_names(["background", "instrument"])

    class Halves:
        """Says instrument in the left half of what it is shown, whatever it is; of a dark picture everywhere."""

        def encode_text(self, space: LabelSpace) -> torch.Tensor:
            return torch.eye(2)

        def prepare(self, images: torch.Tensor) -> torch.Tensor:
            return images.permute(0, 3, 1, 2).float()

        def decode(self, images: torch.Tensor, text: torch.Tensor) -> SimpleNamespace:
            column = torch.arange(images.shape[3])[None, None, :].expand(len(images), images.shape[2], -1)
            left = (column < images.shape[3] / 2) | (images.amax(dim=(1, 2, 3)) == 0)[:, None, None]
            return SimpleNamespace(logits=torch.stack([(~left).float(), left.float()], dim=1))

    bright = torch.full((1, 4, 8, 3), 9, dtype=torch.uint8)
    # Left to right and half a turn see the other half (IoU 0), up-down the same one: 16 of 16 + 2 * 32 pixels.
    assert mirror_agreement(Halves(), [bright], space) == pytest.approx(16 / 80)  # type: ignore[arg-type]
    assert mirror_agreement(Halves(), [0 * bright], space) == 1.0  # type: ignore[arg-type]
    both = [torch.cat([bright, 0 * bright])]
    assert mirror_agreement(Halves(), both, space) == pytest.approx((16 + 96) / (80 + 96))  # type: ignore[arg-type]


def test_a_mask_that_went_empty_is_doubted_though_it_agrees_with_itself() -> None:
    empty = changed(mirrors=math.nan, consistency=math.nan, teacher=0.0, area=0.0)
    assert len(doubts(BEFORE, empty, TrustConfig())) == 4


def test_measures_survive_json_with_numbers_that_are_none() -> None:
    unknown = Measured(dataclasses.replace(AFTER.real, consistency=math.nan), 0.7)
    found = measured_from(finite(to_data(unknown)))
    assert math.isnan(found.real.consistency)
    assert dataclasses.replace(found.real, consistency=0.82) == AFTER.real
    assert (found.synthetic, found.tags) == (0.7, None)
