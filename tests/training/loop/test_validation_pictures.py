"""The contact sheet of a validation: frames from all over, named columns, the padding left alone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from bar_runs import config
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.metrics.confusion import PooledMetrics
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.scene.letterbox import PAD_RGB
from clip_rl_training.data.label_batch import Batch
from clip_rl_training.loop.run_log import RunLog
from clip_rl_training.loop.validate import ValidationResult, side_by_side, validate


def test_pictures_come_from_all_over(tmp_path: Path) -> None:
    segmenter = ClipRlSegmenter(config(tmp_path).model).eval()
    batches = [
        Batch(
            torch.arange(4 * start, 4 * start + 4, dtype=torch.uint8)[:, None, None, None].expand(4, 3, 64, 96),
            torch.zeros(4, 64, 96, dtype=torch.long), ("",) * 4, "binary",
        )
        for start in range(9)
    ]  # fmt: skip
    result = validate(segmenter, batches, load_label_space("binary"), device=torch.device("cpu"), pictures=3)
    shown = [int(picture[0, 0, 0]) for picture in result.pictures]
    assert len(shown) == 3 and shown == sorted(shown) and shown[0] == 0 and shown[-1] >= 24
    assert max(np.diff(shown)) < 24
    few = validate(segmenter, batches[:1], load_label_space("binary"), device=torch.device("cpu"), pictures=6)
    assert [int(picture[0, 0, 0]) for picture in few.pictures] == [0, 1, 2, 3]


def test_nothing_is_drawn_over_padding() -> None:
    image = np.full((8, 8, 3), 200, np.uint8)
    image[:, 6:] = PAD_RGB
    truth = np.zeros((8, 8), np.uint8)
    truth[:, 6:] = truth[0] = 255
    everywhere = np.ones((8, 8), np.uint8)
    sheet = side_by_side(image, (truth, everywhere), load_label_space("binary"))
    assert sheet.shape == (8, 24, 3)
    for column in range(3):
        assert (sheet[:, 8 * column + 6 : 8 * column + 8] == PAD_RGB).all()
    assert (sheet[:, 16:22] != image[:, :6]).any(-1).all(), "the prediction is drawn everywhere else"


def test_the_sheet_names_its_columns(tmp_path: Path) -> None:
    metrics = PooledMetrics(("background", "instrument"))
    log = RunLog(tmp_path, config(tmp_path, "loggers=[]"), 0, print)
    log.validation(1, ValidationResult(metrics, [np.zeros((64, 384, 3), np.uint8)] * 2), "")
    sheet = cv2.imread(str(tmp_path / "validation.jpg"))
    assert sheet.shape == (24 + 2 * 64, 384, 3)
    for column in range(3):
        assert sheet[:24, 128 * column : 128 * column + 128].max() > 150, "there is writing"


def test_tissue_is_no_instrument(tmp_path: Path) -> None:
    metrics = PooledMetrics(("background", "instrument", "tissue"))
    metrics.add(np.array([[5, 1, 0], [2, 4, 0], [0, 3, 85]], np.int64))
    assert ValidationResult(metrics, [], (1,)).instrument_iou == pytest.approx(4 / 10)
    assert ValidationResult(metrics, []).instrument_iou == pytest.approx(92 / 95), "no class is one: all but class 0"
    space = load_label_space("endovis2018")
    batch = Batch(torch.zeros(1, 3, 64, 96, dtype=torch.uint8), torch.ones(1, 64, 96).long(), ("",), "endovis2018")
    found = validate(ClipRlSegmenter(config(tmp_path).model).eval(), [batch], space, device=torch.device("cpu"))
    assert found.instruments == space.instrument_ids != tuple(range(1, len(space)))
