"""The fit and its measures: what can be told apart is, whichever mirror image is looked at; areas by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from clip_rl_perception import options
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.model.checkpoint_files import sha256
from clip_rl_perception.model.frame_classifier import KINDS, OUT_OF_BODY, OUT_OF_DISTRIBUTION, SURGERY
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import SegmenterConfig
from clip_rl_perception.scene.picture_measures import MEASURES
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.scene.validity import FrameAppearance
from clip_rl_training.commands import fit_validity
from clip_rl_training.validity.examples import Example, drawn_example
from clip_rl_training.validity.fit_classifier import Described, FitConfig, describe, fit_classifier, probabilities
from clip_rl_training.validity.measure_classifier import judge, part
from random_checkpoint import save_random_checkpoint

GOOD = FrameAppearance(brightness=110, contrast=50, glare=0.01, saturation=0.4, tissue=1.0, cold=0.0, detail=20)
DIM = 6


def clusters(count: int, seed: int) -> Described:
    """Surgery in the middle of the first measure, rooms on both sides of it; screens elsewhere in the embedding."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    embeddings = random.normal(0, 0.3, (count, 4, DIM))
    embeddings[labels == OUT_OF_DISTRIBUTION, :, 0] += 3
    measures = random.normal(0, 0.3, (count, len(MEASURES)))
    rooms = labels == OUT_OF_BODY
    measures[rooms, 0] += random.choice([-3, 3], rooms.sum())
    return Described(
        embeddings.astype(np.float32),
        measures.astype(np.float32),
        labels.astype(np.int64),
        tuple(f"{KINDS[label]}: {index}" for index, label in enumerate(labels)),
        (GOOD,) * count,
    )


def test_what_can_be_told_apart_is() -> None:
    """Rooms lie on both sides of surgery: only the square of the measure tells them."""
    classifier = fit_classifier(clusters(240, 0))
    unseen = clusters(120, 1)
    found = probabilities(classifier, unseen)
    assert found.shape == (120, 4, 3) and found.sum(axis=-1) == pytest.approx(1)
    assert (found.argmax(axis=-1) == unseen.labels[:, None]).mean() > 0.98
    one = classifier.probabilities(unseen.embeddings[7, 2], unseen.measures[7])
    assert one == pytest.approx(found[7, 2], abs=1e-5)


def test_a_larger_share_of_surgery_refuses_less() -> None:
    some = clusters(240, 2)
    strict, mild = (fit_classifier(some, FitConfig(surgery_share=share, stiffness=300.0)) for share in (0.1, 0.9))
    assert probabilities(mild, some)[..., SURGERY].mean() > probabilities(strict, some)[..., SURGERY].mean() + 0.1


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_a_share_that_leaves_a_side_out_is_refused(share: float, tmp_path: Path) -> None:
    with pytest.raises(ClipRlError, match=r"--surgery-share .*: expected between 0 and 1"):
        fit_validity.Fit(checkpoint="demo", surgery_share=share, out=tmp_path / "out").run()
    assert not list(tmp_path.iterdir())


def test_all_kinds_are_needed() -> None:
    some = clusters(9, 0)
    some = dataclasses.replace(some, labels=np.zeros(9, np.int64))
    with pytest.raises(ValueError, match=r"surgery, out_of_body, out_of_distribution: \[9, 0, 0\]"):
        fit_classifier(some)


def test_pictures_are_looked_at_in_all_mirror_images() -> None:
    torch.manual_seed(0)
    segmenter = ClipRlSegmenter(SegmenterConfig.tiny()).eval()
    half = np.full((128, 160, 3), 120, np.uint8)
    half[:50, :60] = (200, 90, 80)
    told: list[int] = []
    found = describe(segmenter, [Example(half, SURGERY, "half"), drawn_example("noise", 0, 0)], told.append)
    assert found.embeddings.shape == (2, 4, segmenter.embedding_dim) and told == [1, 2]
    assert np.linalg.norm(found.embeddings, axis=-1) == pytest.approx(1, abs=1e-4)
    assert found.labels.tolist() == [SURGERY, OUT_OF_DISTRIBUTION] and found.sources == ("half", "noise")
    again = describe(segmenter, [Example(half[:, ::-1], SURGERY, "mirrored")])
    order = [int(np.abs(again.embeddings[0] - one).sum(axis=-1).argmin()) for one in found.embeddings[0]]
    assert sorted(order) == [0, 1, 2, 3] and order != [0, 1, 2, 3], "the same four, in another order"
    with pytest.raises(ValueError, match="no picture"):
        describe(segmenter, [])


def test_shares_are_of_all_looks() -> None:
    some = clusters(120, 3)
    calibration = Calibration.uncalibrated(DIM)
    without = part(some, judge(some, calibration), list(range(120)))
    assert without["ok"] == 1 and without["refused"] == 0 and without["kind_right"] is None
    fitted = dataclasses.replace(calibration, classifier=fit_classifier(some))
    judged = judge(some, fitted)
    rooms = [index for index, label in enumerate(some.labels) if label == OUT_OF_BODY]
    row = part(some, judged, rooms)
    assert row["pictures"] == 40 and row["refused"] > 0.95 and row["kind_right"] > 0.95
    assert row["ok"] + row["degraded"] + row["out_of_body"] + row["out_of_distribution"] == pytest.approx(1)
    assert judged.validity[rooms[0]] == (Validity.OUT_OF_BODY,) * 4


def test_frames_that_cannot_be_read_are_told_and_other_weights_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    cv2.imwrite(str(frames / "a.png"), np.full((96, 128, 3), 90, np.uint8))
    (frames / "b.png").write_bytes(b"no picture")
    source, other = save_random_checkpoint(tmp_path / "model"), save_random_checkpoint(tmp_path / "other", seed=1)
    words = ["fit", "--checkpoint", str(source), "--scenes", "2", "--drawn", "1", "--surgery", str(frames)]
    kept = sha256(other)
    with pytest.raises(ClipRlError, match="holds other weights than"):
        fit_validity.run(options.parse(fit_validity, [*words, "--out", str(other)]))
    assert sha256(other) == kept
    assert fit_validity.run(options.parse(fit_validity, [*words, "--out", str(tmp_path / "fitted")])) == 0
    assert "b.png" in capsys.readouterr().err
    assert sha256(tmp_path / "fitted.safetensors") == sha256(source)
