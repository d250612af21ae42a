from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.evaluation import opencv_log, report
from clip_rl_perception.evaluation.bag_writer import BagWriter
from clip_rl_perception.evaluation.pictures import Accuracy, draw_run
from clip_rl_perception.evaluation.recording import Recording
from clip_rl_perception.evaluation.sources import open_source
from clip_rl_perception.evaluation.video_writer import VideoError, VideoWriter, letterbox
from clip_rl_perception.labels import load_label_space
from recorded import stamp, status, write_recording

HEIGHT, WIDTH = 96, 128


def decoded(path: Path) -> list[np.ndarray]:
    with opencv_log.quiet():
        capture = cv2.VideoCapture(str(path))
    frames = []
    while (result := capture.read())[0]:
        frames.append(result[1][..., ::-1])
    return frames


def test_video_plays_back(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "v.mp4", (HEIGHT + 1, WIDTH + 1), 25.0) as video:
        for index in range(12):
            video.write(np.full((HEIGHT + 1, WIDTH + 1, 3), (index * 20, 100, 30), np.uint8))
    assert video.codec in ("h264", "mpeg4")
    frames = decoded(tmp_path / "v.mp4")
    assert len(frames) == 12
    assert frames[0].shape == (HEIGHT, WIDTH, 3)  # odd rows and columns are cut
    assert [round(float(frame[..., 0].mean()), -1) for frame in frames[::4]] == pytest.approx([0, 80, 160], abs=11)


def test_frames_of_another_size_are_fitted(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "v.mp4", (HEIGHT, WIDTH), 10.0) as video:
        video.write(np.full((200, 100, 3), 255, np.uint8))
    (frame,) = decoded(tmp_path / "v.mp4")
    assert frame[:, :30].max() < 40  # bars
    assert frame[:, 50:78].min() > 200


def test_letterbox() -> None:
    boxed = letterbox(np.full((10, 20), 7, np.uint8), (40, 40))
    assert (boxed[10:30] == 7).all()
    assert not boxed[:10].any() and not boxed[30:].any()


def test_video_in_no_folder(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"cannot write .*v\.mp4: No such file"):
        VideoWriter(tmp_path / "none" / "v.mp4", (HEIGHT, WIDTH), 25.0)


def box(value: int, left: int, width: int = 20) -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[40:60, left : left + width] = value
    return labels


def write_source(path: Path, count: int, space_name: str = "endovis2018-type") -> None:
    with BagWriter(path) as bag:
        bag.write_label_space(load_label_space(space_name), stamp(0))
        for index in range(count):
            bag.write_image(np.full((HEIGHT, WIDTH, 3), 60, np.uint8), stamp(index), encoding="png")
            bag.write_labels(box(1, 10), stamp(index))


def test_each_mask_is_drawn_on_its_own_frame(tmp_path: Path) -> None:
    write_source(tmp_path / "bag", 12)
    # Frames 3 and 4 have no mask; the masks of 6 and 7 arrive in the wrong order.
    order = [0, 1, 2, 5, 7, 6, *range(8, 12)]
    masks = [(index, box(1, 10 + 4 * index), 20.0) for index in order]
    recording = Recording(write_recording(tmp_path / "rec", masks, [status(index) for index in order]))
    stamps = {stamp(index): index for index in range(12)}
    results = report.outcomes(stamps, recording)
    told: list[tuple[int, int]] = []
    pictures = draw_run(
        open_source(tmp_path / "bag"),
        results,
        recording,
        tmp_path / "v.mp4",
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(done, 12) for done in range(1, 13)]
    frames = decoded(tmp_path / "v.mp4")
    assert len(frames) == pictures.frames == 12
    for index, frame in enumerate(frames):
        shown = 2 if index in (3, 4) else index  # the last picture stays until the next mask
        green = frame[50, :, 1].astype(int) - frame[50, :, 0]
        columns = np.flatnonzero(green > 40)
        assert columns[0] == pytest.approx(10 + 4 * shown, abs=3)
        assert columns[-1] == pytest.approx(29 + 4 * shown, abs=3)


def test_accuracy_and_stills(tmp_path: Path) -> None:
    write_source(tmp_path / "bag", 12)
    # Shifted by 0, 10 and 20 of 20 columns: IoU 1, 1/3 and 0.
    shift = {index: 0 for index in range(12)} | {4: 10, 10: 20}
    masks = [(index, box(1, 10 + shift[index]), 20.0) for index in range(12)]
    recording = Recording(write_recording(tmp_path / "rec", masks))
    results = report.outcomes({stamp(index): index for index in range(12)}, recording)
    pictures = draw_run(open_source(tmp_path / "bag"), results, recording, tmp_path / "v.mp4")
    assert pictures.metrics is not None
    iou = (10 * 20 + 10) / (10 * 20 + 30 + 40)  # in columns of 20 pixels
    assert pictures.metrics["classes"]["bipolar-forceps"]["iou"] == pytest.approx(iou)
    assert pictures.metrics["frames"] == 12
    titles = [still.title for still in pictures.stills]
    assert len(titles) == 5
    assert titles[-1].startswith("Frame 10,") and titles[-1].endswith("instrument IoU 0.00 (lowest of all)")
    assert [name for name, _ in pictures.stills[0].pictures] == ["input", "what came back", "ground truth"]


def test_masks_of_another_size_are_scaled(tmp_path: Path) -> None:
    write_source(tmp_path / "bag", 2)
    masks = [(index, np.ascontiguousarray(box(1, 10)[::2, ::2]), 20.0) for index in range(2)]
    recording = Recording(write_recording(tmp_path / "rec", masks))
    results = report.outcomes({stamp(index): index for index in range(2)}, recording)
    pictures = draw_run(open_source(tmp_path / "bag"), results, recording, tmp_path / "v.mp4")
    assert pictures.metrics is not None and pictures.metrics["miou"] == 1.0


def test_accuracy_between_spaces_that_differ() -> None:
    accuracy = Accuracy(load_label_space("endovis2018-type"), load_label_space("binary"))
    truth = box(1, 10)
    assert accuracy.update(box(5, 10), truth) == 1.0  # any instrument is an instrument
    found = accuracy.report()
    assert found is not None
    assert set(found["classes"]) == {"background", "instrument"}
    assert "instrument or not" in found["note"]


def test_truth_is_drawn_in_the_only_instrument_class_of_the_model() -> None:
    binary, types = load_label_space("binary"), load_label_space("endovis2018-type")
    rgb = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    drawn = Accuracy(binary, types).truth_picture(rgb, box(5, 10))
    assert np.array_equal(drawn, Accuracy(binary, binary).truth_picture(rgb, box(1, 10)))
    assert not np.array_equal(drawn, Accuracy(types, types).truth_picture(rgb, box(5, 10)))


def test_accuracy_without_frames_is_none() -> None:
    assert Accuracy(load_label_space("binary"), load_label_space("binary")).report() is None
