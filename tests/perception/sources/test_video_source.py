"""Videos: the container's time of every frame, masks that stay with their frames, damage that is told."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from clip_rl_perception.bags.bag_inputs import open_path
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.streams import InputOptions, open_inputs, read
from clip_rl_perception.sources.video_source import VideoSource

MS = Fraction(1, 1000)
EVEN = [40 * k for k in range(20)]
PAUSE = [40 * k for k in range(10)] + [2000 + 100 * k for k in range(10)]
"""25 Hz, a pause, 10 Hz; ms."""
HEIGHT, WIDTH = 96, 128


def picture(number: int) -> np.ndarray:
    """Its number in black and white squares, so that any codec shows it."""
    bits = [(number >> bit) & 1 for bit in range(8)]
    return np.repeat(np.repeat(np.array(bits, np.uint8) * 220 + 20, WIDTH // 8)[None, :, None], HEIGHT, 0).repeat(3, 2)


def cornered(number: int) -> np.ndarray:
    """No turned or mirrored picture is like it."""
    return picture(5) * (np.arange(HEIGHT)[:, None, None] < 30).astype(np.uint8)


def number_in(rgb: np.ndarray) -> int:
    return sum(int(rgb[32:64, 16 * bit + 4 : 16 * bit + 12].mean() > 128) << bit for bit in range(8))


def write(
    path: Path,
    times: Sequence[float],
    codec: str = "libx264",
    tick: Fraction = MS,
    draw: Callable[[int], np.ndarray] = picture,
    **options: str,
) -> Path:
    """A video whose frame k, `draw(k)`, has the time ``times[k]``, ms."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.time_base = WIDTH, HEIGHT, tick
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = tick
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = round(Fraction(time) / 1000 / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def masks(folder: Path, names: Sequence[str], instrument: int = 1) -> Path:
    """Mask k has k + 1 instrument pixels in its first row."""
    folder.mkdir()
    for number, name in enumerate(names):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[0, : number + 1] = instrument
        assert cv2.imwrite(str(folder / f"{name}.png"), mask)
    return folder


FILES = {
    "h264.mp4": {},
    "h264.mov": {},
    "h264.mkv": {},
    "h264.ts": {"tick": Fraction(1, 90000)},
    "reordered.mp4": {"bf": "3"},
    "reordered.mkv": {"bf": "3"},
    "vp8.webm": {"codec": "libvpx"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mpeg4.mkv": {"codec": "mpeg4"},
}


@pytest.mark.parametrize("begin", [0, 5000])
@pytest.mark.parametrize("name", FILES)
def test_stamps_are_the_times_of_the_container(tmp_path: Path, name: str, begin: int) -> None:
    source = VideoSource(write(tmp_path / name, [begin + time for time in PAUSE], **FILES[name]))
    frames = list(source)
    assert [frame.stamp_ns / 1e6 for frame in frames] == PAUSE
    assert [frame.index for frame in frames] == [number_in(frame.rgb) for frame in frames] == list(range(20))
    assert source.info.rate_hz == pytest.approx(19 / 2.9) and source.info.size == (HEIGHT, WIDTH)
    assert source.info.frames == (None if "vp8" in name else 20)
    assert not source.problems and not source.left_out


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("b.avi", "mjpeg"), ("c.mp4", "libx264")])
def test_even_videos_keep_the_rate_that_they_name(tmp_path: Path, name: str, codec: str) -> None:
    source = VideoSource(write(tmp_path / name, EVEN, codec, Fraction(1, 25)))
    assert source.info.rate_hz == 25 and [frame.stamp_ns / 1e6 for frame in source] == EVEN


def test_the_rate_of_television_is_exact(tmp_path: Path) -> None:
    tick = Fraction(1, 30000)
    source = VideoSource(write(tmp_path / "a.mp4", [Fraction(1001 * k, 30) for k in range(20)], tick=tick))
    assert [frame.stamp_ns for frame in source] == [round(k * 1001e9 / 30000) for k in range(20)]


def test_a_given_rate_spaces_the_frames_anew(tmp_path: Path) -> None:
    source = VideoSource(write(tmp_path / "a.mkv", PAUSE), rate_hz=50)
    assert source.info.rate_hz == 50 and [frame.stamp_ns / 1e6 for frame in source] == [20 * k for k in range(20)]


def test_a_stream_without_times_is_read_at_its_nominal_rate(tmp_path: Path) -> None:
    source = VideoSource(write(tmp_path / "a.h264", EVEN))
    assert [frame.stamp_ns / 1e6 for frame in source] == EVEN


def show_as(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Let an MP4 ask for its pixels (x, y) at (ax + cy, bx + dy)."""
    content = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    at = content.index(b"tkhd") + 44  # ISO 14496-12, 8.3.2: the display matrix of a version 0 header
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


MATRICES = [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]


@pytest.mark.parametrize("matrix", MATRICES)
def test_pictures_are_mirrored_as_the_container_asks(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    a, b, c, d = matrix
    path = write(tmp_path / "a.mp4", EVEN[:2], draw=cornered)
    stored = next(iter(VideoSource(path))).rgb
    show_as(path, matrix)
    shown = next(iter(VideoSource(path))).rgb
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    right, down = a * x + c * y, b * x + d * y
    expected = np.zeros((int(np.ptp(down)) + 1, int(np.ptp(right)) + 1, 3), np.uint8)
    expected[down - down.min(), right - right.min()] = stored
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize(
    "matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)], ids=["to the right", "upside down", "to the left"]
)
def test_pictures_are_turned_as_players_turn_them(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    path = write(tmp_path / "a.mp4", EVEN)
    show_as(path, matrix)
    source = VideoSource(path)
    done, expected = cv2.VideoCapture(str(path)).read()
    assert done and source.info.size == expected.shape[:2]
    np.testing.assert_array_equal(next(iter(source)).rgb, expected[..., ::-1])


def truths(video: Path, folder: Path) -> tuple[dict[int, int], list[str]]:
    """Masks by the number that is in the picture, and what was told."""
    inputs = open_inputs(InputOptions((video,), labels=folder), load_label_space("binary"))
    found, told = {}, list(inputs.problems)
    for item in read(inputs):
        told += item.problems
        if getattr(item.content, "labels", None) is not None:
            found[number_in(item.content.rgb)] = int(item.content.labels.sum()) - 1
    return found, told


@pytest.mark.parametrize("name", FILES)
def test_masks_by_number_are_those_of_their_frames(tmp_path: Path, name: str) -> None:
    video = write(tmp_path / name, PAUSE, **FILES[name])
    found, told = truths(video, masks(tmp_path / "masks", [f"frame_{k}" for k in range(20)]))
    assert found == {k: k for k in range(20)} and not told
    labelled = list(open_path(video, labels=masks(tmp_path / "more", [f"{k:04}" for k in range(20)], 255)).frames)
    assert [int(frame.labels.sum()) - 1 for frame in labelled if frame.labels is not None] == list(range(20))


def test_masks_by_time_are_found_to_the_tick_of_the_container(tmp_path: Path) -> None:
    """MKV rounds to milliseconds what a camera of 30 Hz delivered; every other frame has a mask."""
    exact = [round(k * 1e9 / 30) for k in range(20)]
    video = write(tmp_path / "a.mkv", [time / 1e6 for time in exact])
    found, told = truths(video, masks(tmp_path / "masks", [f"{time:019}" for time in exact[::2]]))
    assert found == {2 * k: k for k in range(10)}
    assert len(told) == 10 and all("no mask for a.mkv#" in line for line in told)


def test_other_masks_than_frames_are_told_where_the_count_is_known_late(tmp_path: Path) -> None:
    video = write(tmp_path / "a.webm", PAUSE, "libvpx")
    found, told = truths(video, masks(tmp_path / "masks", [str(k) for k in range(22)]))
    assert found == {k: k for k in range(20)}
    assert told == [f"{tmp_path / 'masks'}: 22 masks for 20 frames, paired in order from the first"]


def test_other_masks_than_frames_are_refused_where_it_is_known(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="22 masks for 20 frames"):
        truths(write(tmp_path / "a.mkv", PAUSE), masks(tmp_path / "masks", [str(k) for k in range(22)]))


def test_a_damaged_frame_is_left_out_by_its_number(tmp_path: Path) -> None:
    video = write(tmp_path / "a.avi", EVEN, "mjpeg", Fraction(1, 25))
    content = bytearray(video.read_bytes())
    pictures = [
        at for at in range(len(content)) if content[at + 8 : at + 10] == b"\xff\xd8" and content[at : at + 4] == b"00dc"
    ]
    for number in (7, 8):
        (size,) = struct.unpack_from("<I", content, pictures[number] + 4)
        end = pictures[number] + 8 + size
        content[end - 60 : end] = random.Random(number).randbytes(60)
    video.write_bytes(content)
    source = VideoSource(video)
    frames = list(source)
    assert [frame.index for frame in frames] == [k for k in range(20) if k not in (7, 8)]
    assert all(frame.index == number_in(frame.rgb) == frame.stamp_ns / 40e6 for frame in frames)
    assert [(item.index, item.stamp_ns / 40e6) for item in source.left_out] == [(7, 7), (8, 8)]
    assert "frame 7 at 0.280 s: cannot be decoded" in source.problems[0] and "left out" in source.problems[0]
    found, _ = truths(video, masks(tmp_path / "masks", [str(k) for k in range(20)]))
    assert found == {k: k for k in range(20) if k not in (7, 8)}


def test_what_builds_on_a_damaged_frame_is_told(tmp_path: Path) -> None:
    video = write(tmp_path / "a.mkv", EVEN, g="10", bf="0", sc_threshold="0")
    with av.open(str(video)) as container:
        third = [packet for packet in container.demux(video=0) if packet.size][3]
        at = video.read_bytes().index(bytes(third))
    content = bytearray(video.read_bytes())
    content[at + 6 : at + 6 + third.size // 2] = random.Random(1).randbytes(third.size // 2)
    video.write_bytes(content)
    source = VideoSource(video)
    frames = list(source)
    assert [item.index for item in source.left_out] == [3]
    assert [frame.index for frame in frames] == [k for k in range(20) if k != 3]
    assert all(number_in(frame.rgb) == frame.index for frame in frames if frame.index < 3 or frame.index >= 10)
    assert any("frames 4 to 9 build on a damaged one" in line for line in source.problems)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.avi", "mjpeg"), ("a.webm", "libvpx")])
def test_a_file_that_was_cut_off_says_so_and_gives_what_it_has(tmp_path: Path, name: str, codec: str) -> None:
    video = write(
        tmp_path / name, PAUSE if codec != "mjpeg" else EVEN, codec, Fraction(1, 25) if codec == "mjpeg" else MS
    )
    content = video.read_bytes()
    video.write_bytes(content[: round(len(content) * 0.7)])
    source = VideoSource(video)
    frames = list(source)
    assert 3 < len(frames) < 20 and all(number_in(frame.rgb) == frame.index for frame in frames[:3])
    assert "it was cut off" in source.problems[0]
    found, told = truths(video, masks(tmp_path / "masks", [str(k) for k in range(20)]))
    assert set(found) >= {0, 1, 2} and any("20 masks for" in line for line in told)


@pytest.mark.parametrize("content", [b"", b"not a video", bytes(4000)])
def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.mp4: not a video that can be read") as caught:
        VideoSource(tmp_path / "a.mp4")
    assert "\n" not in str(caught.value)


def test_a_file_with_sound_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(SourceError, match="no video in this file"):
        VideoSource(tmp_path / "a.mkv")
