"""Which pixels are taken at their word, on hand-made maps."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.labels import load_label_space
from clip_rl_training.adapting.adapt_config import SureConfig, load_adapt_config
from clip_rl_training.adapting.pseudo_labels import sure_labels

BINARY = load_label_space("binary")
CONFIG = SureConfig(instrument=0.8, background=0.9, disagreement=0.3)


def row(*values: int) -> np.ndarray:
    return np.array([values], np.uint8)


def test_each_kind_has_its_own_least_probability() -> None:
    labels, confidence = row(0, 0, 1, 1), row(229, 230, 203, 204)  # 0.9 is 229.5, 0.8 is 204
    found = sure_labels(labels, confidence, row(0, 0, 0, 0), BINARY, CONFIG)
    assert found.tolist() == [[255, 0, 255, 1]]
    assert found.dtype == np.uint8


def test_pixels_on_which_looks_disagree_teach_nothing() -> None:
    found = sure_labels(row(1, 1, 0), row(255, 255, 255), row(76, 77, 255), BINARY, CONFIG)  # 0.3 bits are 76.5
    assert found.tolist() == [[1, 255, 255]]


def test_what_lies_outside_the_content_stays_unknown() -> None:
    assert sure_labels(row(255, 0), row(255, 255), row(0, 0), BINARY, CONFIG).tolist() == [[255, 0]]


def test_all_classes_that_are_no_instrument_need_what_background_needs() -> None:
    space = load_label_space("endovis2018")
    tissue = next(entry.id for entry in space.classes if entry.id and not entry.instrument)
    tool = space.instrument_ids[0]
    found = sure_labels(row(tissue, tool), row(210, 210), row(0, 0), space, CONFIG)
    assert found.tolist() == [[255, tool]]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sure.instrument=0.3", "probabilities from 0.5"),
        ("share=0", "share is 0"),
        ("frames.hold_out=1.0", "hold_out between 0 and 1"),
        ("teacher=5", "teacher"),
    ],
)
def test_settings_that_cannot_be_are_told(override: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load_adapt_config("adapt", [override])
