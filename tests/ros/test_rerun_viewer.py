"""The live page of a running node: what reaches a browser, and that nothing is asked of anybody while nobody looks."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clip_rl_interfaces.msg import Instrument3DArray
from harness import GUARD_S, Rig, Tester, compressed, image, picture
from sensor_msgs.msg import CompressedImage

if importlib.util.find_spec("rerun") is None:
    pytest.skip("rerun-sdk (extra viewer) is not installed", allow_module_level=True)

SHOWN = ("/image", "/mask", "/confidence", "/disagreement", "/instruments", "/status")
TOPICS = (*SHOWN, "/overlay", "/overlay/compressed", "/markers")


def start(log: Path, *parameters: str, path: str = "") -> subprocess.Popen[bytes]:
    """The viewer node in a process of its own."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    if path:
        environment["PYTHONPATH"] = os.pathsep.join([path, environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "clip_rl_perception.viewer.rerun_viewer_node", "--ros-args"]
    for parameter in parameters:
        command += ["-p", parameter]
    with log.open("w") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)


def free_port() -> int:
    """The first of two free ports in a row."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


@pytest.fixture
def transport() -> str:
    return "raw"


@pytest.fixture
def halves() -> tuple[str, ...]:
    return ()


@pytest.fixture
def viewer(tester: Tester, tmp_path: Path, transport: str, halves: tuple[str, ...]) -> Iterator[tuple[int, Path]]:
    """A running viewer: its port and its log."""
    port, log = free_port(), tmp_path / "viewer.log"
    process = start(log, f"port:={port}", "max_hz:=200", f"image_transport:={transport}", *halves)
    try:
        tester.wait(lambda: "live page" in log.read_text() or process.poll() is not None, "the live page")
        assert process.poll() is None, log.read_text()
        yield port, log
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(GUARD_S) == 0, log.read_text()


class Browser:
    """Stands in for a browser: Rerun's own client, which writes what it is sent to a file."""

    def __init__(self, port: int, path: Path) -> None:
        self.path = path
        source = f"rerun+http://127.0.0.1:{port + 1}/proxy"
        command = [sys.executable, "-m", "rerun", source, "--save", str(path), "--port", str(free_port())]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def has(self, frames: int) -> bool:
        """True when about so many frames of 80x60 have come: DDS matches publishers and subscribers one by one."""
        return self.path.exists() and self.path.stat().st_size > frames * 80 * 60 * 2

    def leave(self, entity: str = "/camera") -> list[dict[str, Any]]:
        """Go; returns the rows of an entity, columns by name."""
        import pyarrow
        from rerun.chunk import RrdReader

        self._process.send_signal(signal.SIGINT)
        self._process.wait(GUARD_S)
        rows = []
        for chunk in RrdReader(self.path).stream():
            batch = chunk.to_record_batch()
            if chunk.entity_path == entity and "stamp" in batch.schema.names:
                stamps = batch.column("stamp").cast(pyarrow.int64()).to_pylist()
                for index, stamp in enumerate(stamps):
                    row = {name: batch.column(name)[index].as_py() for name in batch.schema.names if ":" in name}
                    rows.append({"stamp": stamp, **row})
        return rows


def listeners(tester: Tester) -> dict[str, int]:
    """How many of the viewer's subscriptions each topic has."""
    return {
        topic: sum(info.node_name == "rerun_viewer" for info in tester.node.get_subscriptions_info_by_topic(topic))
        for topic in TOPICS
    }


def test_browser_gets_each_frame_with_its_own_mask_and_the_viewer_listens_only_then(
    viewer: tuple[int, Path], rig: Rig, tester: Tester, tmp_path: Path
) -> None:
    port, log = viewer
    rig.send(image(picture(), tester.now()))
    assert set(listeners(tester).values()) == {0}, "it listens with nobody looking"
    browser = Browser(port, tmp_path / "seen.rrd")
    wanted = {topic: int(topic in SHOWN) for topic in TOPICS}
    tester.wait(lambda: listeners(tester) == wanted, "subscriptions")
    sent: dict[int, np.ndarray] = {}
    for seed in range(1000):
        if browser.has(60):
            break
        rgb = picture(seed=seed)
        message = image(rgb, tester.now())
        sent[message.header.stamp.sec * 10**9 + message.header.stamp.nanosec] = rgb
        rig.send(message)
        rig.of(rig.mask, message)
    rows = browser.leave()
    tester.wait(lambda: not any(listeners(tester).values()), "the end of the subscriptions")
    assert "nobody looks: unsubscribed" in log.read_text()

    masks = {m.header.stamp.sec * 10**9 + m.header.stamp.nanosec: bytes(m.data) for m in rig.mask.all()}
    whole = [row for row in rows if row.get("Image:buffer") and row.get("SegmentationImage:buffer")]
    assert len(whole) >= 10, f"{len(whole)} of {len(rows)} rows have image and mask"
    for row in whole:
        shown = np.array(row["Image:buffer"][0], np.uint8).reshape(90, 80)
        np.testing.assert_array_equal(shown, cv2.cvtColor(sent[row["stamp"]], cv2.COLOR_RGB2YUV_I420))
        assert bytes(row["SegmentationImage:buffer"][0]) == masks[row["stamp"]], "the mask of another frame"


def test_browser_gets_instruments_in_space(viewer: tuple[int, Path], tester: Tester, tmp_path: Path) -> None:
    port, _ = viewer
    browser = Browser(port, tmp_path / "seen.rrd")
    publisher = tester.camera("/instruments_3d", Instrument3DArray)
    # What cannot be compressed tells by the size of the file that tables came.
    reason = np.random.default_rng(0).bytes(4000).hex()

    def told() -> bool:
        publisher.publish(Instrument3DArray(validity=Instrument3DArray.DOUBTFUL, reason=reason))
        return browser.path.exists() and browser.path.stat().st_size > 20 * 4000

    tester.wait(told, "tables")
    tester.node.destroy_publisher(publisher)
    rows = browser.leave("/space")
    assert rows and all(row["TextDocument:text"][0].startswith(f"**DOUBTFUL**: {reason}") for row in rows)


@pytest.mark.parametrize("halves", [("stereo_layout:=side_by_side", "eye:=right")])
def test_of_two_eyes_in_one_picture_that_of_the_mask_is_shown(
    viewer: tuple[int, Path], rig: Rig, tester: Tester, tmp_path: Path, halves: tuple[str, ...]
) -> None:
    port, _ = viewer
    browser = Browser(port, tmp_path / "seen.rrd")
    tester.wait(lambda: listeners(tester)["/mask"] == 1, "subscriptions")
    sent: dict[int, np.ndarray] = {}
    for seed in range(1000):
        if browser.has(40):
            break
        rgb = picture(seed=seed)
        message = image(np.hstack([picture(seed=seed + 1), rgb]), tester.now())
        sent[message.header.stamp.sec * 10**9 + message.header.stamp.nanosec] = rgb
        rig.send(message)  # the node of these tests takes the whole picture
    whole = [row for row in browser.leave() if row.get("Image:buffer")]
    assert len(whole) >= 5
    for row in whole:
        shown = np.array(row["Image:buffer"][0], np.uint8)
        assert shown.size == 90 * 80, "both eyes are shown"
        np.testing.assert_array_equal(shown.reshape(90, 80), cv2.cvtColor(sent[row["stamp"]], cv2.COLOR_RGB2YUV_I420))


@pytest.mark.parametrize("transport", ["compressed"])
def test_compressed_images_are_shown_too(
    viewer: tuple[int, Path], rig: Rig, tester: Tester, tmp_path: Path, transport: str
) -> None:
    port, _ = viewer
    browser = Browser(port, tmp_path / "seen.rrd")
    publisher = tester.node.create_publisher(CompressedImage, "/image/compressed", 1)
    try:
        tester.wait(lambda: listeners(tester)["/mask"] == 1, "subscriptions")
        tester.wait(lambda: publisher.get_subscription_count() == 1, "a subscriber of /image/compressed")
        sent: dict[int, np.ndarray] = {}
        for seed in range(1000):
            if browser.has(60):
                break
            rgb = picture(seed=seed)
            message = image(rgb, tester.now())
            jpeg = cv2.imencode(".jpg", rgb[..., ::-1])[1]
            sent[message.header.stamp.sec * 10**9 + message.header.stamp.nanosec] = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
            publisher.publish(compressed(jpeg.tobytes(), message.header.stamp))
            rig.send(message)  # the node of these tests takes raw images
        rows = browser.leave()
    finally:
        tester.node.destroy_publisher(publisher)
    whole = [row for row in rows if row.get("Image:buffer") and row.get("SegmentationImage:buffer")]
    assert len(whole) >= 5, f"{len(whole)} of {len(rows)} rows have image and mask"
    for row in whole:
        shown = np.array(row["Image:buffer"][0], np.uint8).reshape(90, 80)
        np.testing.assert_array_equal(shown, cv2.cvtColor(sent[row["stamp"]], cv2.COLOR_BGR2YUV_I420))


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        (("port:=0",), "port: 0 is out of range; 1 to 65534 is possible"),
        (("image_transport:=theora",), "image_transport: 'theora' is none of raw, compressed"),
        (("points:=/rig/points!",), "points: '/rig/points!' is no topic: failed to resolve name: topic name must not"),
        (("port:=nine",), "port: 'nine' is str; expected int"),
        (("port:=9090.5",), "port: 9090.5 is float; expected int"),
    ],
)
def test_impossible_parameters_end_it_with_one_line(
    domain: int, tmp_path: Path, parameters: tuple[str, ...], line: str
) -> None:
    process = start(tmp_path / "log", *parameters)
    assert process.wait(GUARD_S) == 2
    told = [text for text in (tmp_path / "log").read_text().splitlines() if text.startswith("rerun_viewer_node: ")]
    assert len(told) == 1 and line in told[0], told


def test_taken_port_ends_it_with_one_line(domain: int, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        process = start(tmp_path / "log", f"port:={port}")
        assert process.wait(GUARD_S) == 2
    assert f"rerun_viewer_node: cannot serve on 127.0.0.1:{port}" in (tmp_path / "log").read_text()


def test_missing_sdk_ends_it_with_the_command_that_installs_it(domain: int, tmp_path: Path) -> None:
    (tmp_path / "rerun.py").write_text("raise ImportError('No module named rerun')\n")
    process = start(tmp_path / "log", path=str(tmp_path))
    assert process.wait(GUARD_S) == 2
    told = (tmp_path / "log").read_text()
    assert "needs rerun-sdk" in told and "pip install 'rerun-sdk" in told and "Traceback" not in told, told
