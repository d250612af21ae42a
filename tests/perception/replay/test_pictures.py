from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.replay.replay_outputs import OverlayVideos
from clip_rl_perception.replay.run_builder import key_of
from clip_rl_perception.replay.scoring import FrameScorer
from clip_rl_perception.replay.video_writer import VideoError, VideoWriter, letterbox
from clip_rl_perception.report.frame_gallery import FrameGallery, error_map, paint
from clip_rl_perception.runs.observer import SeenFrame
from clip_rl_perception.runs.overlay_picture import overlay_at
from clip_rl_perception.sources import opencv_log
from clip_rl_perception.sources.class_mapping import mapping_of_spaces
from runs import frame, missing

HEIGHT, WIDTH = 96, 128
SPACE = load_label_space("endovis2018-type")


def decoded(path: Path) -> list[np.ndarray]:
    with opencv_log.quiet():
        capture = cv2.VideoCapture(str(path))
    frames = []
    while (result := capture.read())[0]:
        frames.append(result[1][..., ::-1])
    return frames


def test_video_plays_back(tmp_path: Path) -> None:
    with contextlib.closing(VideoWriter(tmp_path / "v.mp4", (HEIGHT + 1, WIDTH + 1), 25.0)) as video:
        for index in range(12):
            video.write(np.full((HEIGHT + 1, WIDTH + 1, 3), (index * 20, 100, 30), np.uint8))
    assert video.codec in ("h264", "mpeg4")
    frames = decoded(tmp_path / "v.mp4")
    assert len(frames) == 12
    assert frames[0].shape == (HEIGHT, WIDTH, 3)  # odd rows and columns are cut
    assert [round(float(frame[..., 0].mean()), -1) for frame in frames[::4]] == pytest.approx([0, 80, 160], abs=11)


def test_frames_of_another_size_are_fitted(tmp_path: Path) -> None:
    with contextlib.closing(VideoWriter(tmp_path / "v.mp4", (HEIGHT, WIDTH), 10.0)) as video:
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


@pytest.mark.parametrize(("rate_hz", "written"), [(0.0, 0.001), (0.0001, 0.001), (25.0, 25.0), (5e5, 1000.0)])
def test_a_recording_of_any_rate_has_a_video(tmp_path: Path, rate_hz: float, written: float) -> None:
    with contextlib.closing(VideoWriter(tmp_path / "v.mp4", (HEIGHT, WIDTH), rate_hz)) as video:
        for _ in range(3):
            video.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with opencv_log.quiet():
        capture = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(written)


def box(value: int, left: int, width: int = 20) -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[40:60, left : left + width] = value
    return labels


def seen(index: int, left: int | None, **fields: Any) -> SeenFrame:
    """A frame with an instrument at `left`, its truth at 10; None: no mask."""
    mask = box(1, left) if left is not None else None
    truth = box(1, 10)
    rgb = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    mapping = mapping_of_spaces(SPACE, SPACE)
    measures = FrameScorer(SPACE, mapping).score("t", mask, truth).measures if mask is not None else None
    given = {"measures": measures, **fields}
    record = frame(index, **given) if mask is not None else missing(index, "invalid", **fields)
    return SeenFrame(record, rgb, mask, (), SPACE, truth=truth, prediction=mask, palette=mapping.palette)


def test_each_mask_is_drawn_on_its_own_frame_and_stays_until_the_next(tmp_path: Path) -> None:
    first = seen(0, 10)
    video = OverlayVideos(tmp_path, {key_of(first.record): 25.0}, frames=12)
    for index in (0, 1, 2, *range(5, 10)):  # 3, 4 and the last two never came back
        video.on_frame(seen(index, 10 + 4 * index))
    video.close()
    assert video.codec in ("h264", "mpeg4") and list(video.files.values()) == [tmp_path / "overlay.mp4"]
    frames = decoded(tmp_path / "overlay.mp4")
    assert len(frames) == video.frames == 12
    for index, picture in enumerate(frames):
        shown = 2 if index in (3, 4) else min(index, 9)
        green = picture[50, :, 1].astype(int) - picture[50, :, 0]
        columns = np.flatnonzero(green > 40)
        assert columns[0] == pytest.approx(10 + 4 * shown, abs=3)
        assert columns[-1] == pytest.approx(29 + 4 * shown, abs=3)


def test_every_stream_has_a_video_of_its_own(tmp_path: Path) -> None:
    names = ("seq 1", "seq_1", "seq/1", "seq_1_image_2", "other")
    shown = [seen(0, 10, sequence=name) for name in names]
    videos = OverlayVideos(tmp_path, {key_of(each.record): 25.0 for each in shown})
    for each in shown:
        videos.on_frame(each)
    videos.close()
    called = [path.name for path in videos.files.values()]
    assert sorted(called) == sorted(path.name for path in tmp_path.iterdir()) and len(called) == len(names)
    assert called[::4] == [
        "overlay-seq_1__image.mp4",
        "overlay-other__image.mp4",
    ]


def test_overlays_are_drawn_at_the_size_of_the_video() -> None:
    big = seen(0, 10)
    small = overlay_at(big, WIDTH // 2)
    assert small.shape == (HEIGHT // 2, WIDTH // 2, 3)
    assert small[25, 10, 1] > small[25, 10, 0] + 20  # the instrument, scaled
    assert (overlay_at(seen(0, None), WIDTH) == 60).all()


def test_the_book_keeps_the_worst_the_slowest_and_some_between() -> None:
    book = FrameGallery(worst=2, slowest=1, unsteady=1, even=3)
    shifts = {4: 10, 17: 20, 30: 15}
    for index in range(40):
        book.on_frame(seen(index, 10 + shifts.get(index, 0), latency_ms=500.0 if index == 9 else 20.0))
    found = {picture.record.index: picture for picture in book.pictures()}
    assert [picture.record.index for picture in book.pictures()][:3] == [17, 30, 9]
    assert found[17].reasons == ("lowest IoU",) and found[30].reasons == ("lowest IoU, place 2",)
    assert found[9].reasons == ("slowest",)
    assert 4 not in found or not found[4].reasons
    assert 6 <= len(found) <= 9  # three with a reason, three to six at even steps
    assert [name for name, _ in found[17].images] == ["input", "what came back", "ground truth", "errors"]


def test_the_book_keeps_no_more_however_long_the_run() -> None:
    book = FrameGallery()
    for index in range(400):
        book.on_frame(seen(index, 10 + index % 30, latency_ms=float(index)))
    assert len(book.pictures()) <= 6 + 3 + 2 + 8
    assert len(book._kept) == len(book.pictures())


def test_the_first_of_each_validity_and_refused_frames_are_shown() -> None:
    book = FrameGallery(even=1)
    for index in range(12):
        validity = "out_of_body" if index in (5, 6) else "ok"
        book.on_frame(seen(index, 10, validity=validity, reason="looks at the room" if validity != "ok" else ""))
    book.on_frame(seen(12, None, validity="invalid_input", reason="the engine failed"))
    found = {picture.record.index: picture for picture in book.pictures()}
    assert found[5].reasons[-1] == "first that is out of body" and 6 not in found
    assert found[12].reasons == ("refused",) and [name for name, _ in found[12].images] == ["input"]


def test_error_map_tells_kinds_of_errors_apart() -> None:
    truth = np.array([[1, 1, 0, 1, 0, 255]], np.uint8)
    prediction = np.array([[1, 0, 1, 2, 255, 1]], np.uint8)
    colors = error_map(np.full((1, 6, 3), 100, np.uint8), prediction, truth)[0]
    right, missed, false, other, nothing, ignored = colors.astype(int)
    assert right.argmax() == 1 and missed.argmax() == 2 and false.argmax() == 0
    assert other[0] > 150 and other[1] > 100 > other[2]
    assert len(set(nothing.tolist())) == 1 and ignored.max() < nothing.max()


def test_truth_is_painted_in_its_colours_and_leaves_the_rest() -> None:
    rgb = np.full((1, 3, 3), 100, np.uint8)
    palette = mapping_of_spaces(SPACE, SPACE).palette
    painted = paint(rgb, np.array([[0, 1, 255]], np.uint8), palette)
    assert (painted[0, 0] == 100).all() and not (painted[0, 1] == 100).all()
