"""Frames with pseudo labels among scenes: by number alone, as many in every batch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from bar_runs import Bars, config
from clip_rl_training.adapting.adapt_trainer import AdaptingModule
from clip_rl_training.adapting.kept_frames import AdaptError, KeptVideo
from clip_rl_training.adapting.labelled_videos import LabelledVideo
from clip_rl_training.adapting.mixed_stills import LabelledFrames, MixedStills, Place
from clip_rl_training.data.label_batch import Batch
from clip_rl_training.data.samples import TRAINING, VALIDATION, labels_in

FRAMES = 5


@pytest.fixture
def places(tmp_path: Path) -> list[Place]:
    """Frames that are told from scenes by their brightness, each from the others by its number in the mask."""
    for number in range(FRAMES):
        cv2.imwrite(str(tmp_path / f"{number:06d}.jpg"), np.full((40, 60, 3), 250, np.uint8))
        cv2.imwrite(str(tmp_path / f"{number:06d}.png"), np.full((40, 60), number, np.uint8))
    numbers = tuple(range(FRAMES))
    video = KeptVideo("a video", (40, 60), True, numbers, tuple(40_000_000 * n for n in numbers), tmp_path)
    labelled = LabelledVideo(video, numbers, 1.0, 0.5, {})
    return [(labelled, number) for number in numbers]


def mixed(places: list[Place], share: float, seed: int = 3) -> MixedStills:
    return MixedStills(Bars(), places, space="own", drawn="binary", share=share, seed=seed)


def which(stills: MixedStills, index: int) -> int | None:
    """Number of the frame that sample `index` is; None: a scene."""
    frame = stills.frame(TRAINING, index)
    return int(frame.ids[0, 0]) if frame.rgb.mean() > 240 else None


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 1.0])
def test_every_batch_has_its_share_of_frames(places: list[Place], share: float) -> None:
    stills = mixed(places, share)
    for batch in range(6):
        shown = [which(stills, 8 * batch + place) for place in range(8)]
        assert sum(number is not None for number in shown) == 8 * share


def test_a_sample_depends_on_its_number_alone(places: list[Place]) -> None:
    inorder, backwards = mixed(places, 0.5), mixed(places, 0.5)
    forth = [which(inorder, index) for index in range(40)]
    back = [which(backwards, index) for index in reversed(range(40))]
    assert forth == back[::-1]
    assert forth != [which(mixed(places, 0.5, seed=4), index) for index in range(40)]


def test_every_frame_comes_once_before_any_comes_again_and_in_another_order(places: list[Place]) -> None:
    stills = mixed(places, 1.0)
    rounds = [[which(stills, FRAMES * epoch + place) for place in range(FRAMES)] for epoch in range(6)]
    assert all(sorted(each) == list(range(FRAMES)) for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1


def test_scenes_between_frames_leave_no_gaps_and_answer_in_the_checkpoints_classes(places: list[Place]) -> None:
    stills = mixed(places, 0.5)
    scenes = [stills.frame(TRAINING, index) for index in range(12) if which(stills, index) is None]
    for number, scene in enumerate(scenes):
        drawn = Bars().frame(TRAINING, number)
        np.testing.assert_array_equal(scene.rgb, drawn.rgb)
        np.testing.assert_array_equal(labels_in(scene, "own"), labels_in(drawn, "binary"))


def test_validation_scenes_are_synthetic_alone(places: list[Place]) -> None:
    stills = mixed(places, 1.0)
    for index in range(4):
        np.testing.assert_array_equal(stills.frame(VALIDATION, index).rgb, Bars().frame(VALIDATION, index).rgb)


def test_a_frame_that_is_gone_is_told(places: list[Place]) -> None:
    frames = LabelledFrames(places, space="own")
    assert frames.available(VALIDATION) == FRAMES
    places[2][0].video.stem(2).with_suffix(".jpg").unlink()
    with pytest.raises(AdaptError, match=r"000002\.jpg"):
        frames.frame(VALIDATION, 2)


def test_frames_teach_their_labels_and_scenes_what_the_checkpoint_says(places: list[Place], tmp_path: Path) -> None:
    stills = mixed(places, 0.5)
    wanted = ("losses.distillation=1.0", "losses.distilled_views=1", "start_from=unused")
    captions = tuple(stills.frame(TRAINING, index).caption for index in range(4))
    frames = [which(stills, index) is not None for index in range(4)]
    assert sorted(frames) == [False, False, True, True]
    labels = torch.ones((4, 8, 8), dtype=torch.int64)
    batch = Batch(torch.zeros((4, 3, 8, 8), dtype=torch.uint8), labels, captions, "own")
    labelled, imitated = AdaptingModule(config(tmp_path, *wanted), hold=True).targets(batch)
    for place, is_frame in enumerate(frames):
        assert (labelled[place] == (1 if is_frame else 255)).all()
        assert (imitated[place] == (255 if is_frame else 1)).all()
    # Without a teacher scenes teach their labels.
    labelled, _ = AdaptingModule(config(tmp_path), hold=True).targets(batch)
    assert (labelled == 1).all()
