"""`clip-rl replay --view`: every frame reaches the page, with the mask of the output bag. Rerun's own client looks."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clip_rl_perception import options
from clip_rl_perception.commands import replay
from clip_rl_perception.replay.recording import Recording
from clip_rl_perception.viewer.sdk import ViewerError
from replay_inputs import write_bag

FAST = ("--model", "demo", "--engine", "torch", "--refine-steps", "0", "--threads", "1", "--no-video")
LIMIT_S = 120.0
FRAMES = 4


def command(*arguments: object) -> int:
    return replay.run(options.parse(replay, [*map(str, arguments), *FAST]))


def free_port() -> int:
    """The first of two free ports in a row."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


def look(port: int, path: Path) -> None:
    """Open the page's data as soon as it is there, write what comes to `path`, leave when every frame is in it."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.1)
    source = f"rerun+http://127.0.0.1:{port + 1}/proxy"
    arguments = [sys.executable, "-m", "rerun", source, "--save", str(path), "--port", str(free_port())]
    client = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):  # the file is being written
            if len(camera_rows(path)) >= FRAMES:
                break
        time.sleep(0.1)
    client.send_signal(signal.SIGINT)
    client.wait(LIMIT_S)


def camera_rows(path: Path) -> dict[int, dict[str, Any]]:
    """Rows with pictures by stamp, ns."""
    import pyarrow
    from rerun.chunk import RrdReader

    rows = {}
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        if chunk.entity_path == "/camera" and "SegmentationImage:buffer" in batch.schema.names:
            stamps = batch.column("stamp").cast(pyarrow.int64()).to_pylist()
            for index, stamp in enumerate(stamps):
                rows[stamp] = {
                    name: batch.column(name)[index].as_py() for name in batch.schema.names if name.count(":") == 1
                }
    return rows


@pytest.mark.skipif(importlib.util.find_spec("rerun") is None, reason="rerun-sdk (extra viewer) is not installed")
def test_every_frame_reaches_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag, out, port = write_bag(tmp_path / "bag", FRAMES), tmp_path / "out", free_port()
    looker = threading.Thread(target=look, args=(port, tmp_path / "seen.rrd"))
    looker.start()
    assert command(bag, "--out", out, "--view", "--view-port", port) == 0
    looker.join(LIMIT_S)
    told = capsys.readouterr().err
    assert f"open http://127.0.0.1:{port}/" in told and "its page stays" in told
    rows = camera_rows(tmp_path / "seen.rrd")
    masks = dict(Recording(out / "perception").masks())
    assert rows.keys() == masks.keys() and len(masks) == FRAMES
    for stamp, row in rows.items():
        mask = masks[stamp]
        (width,) = {entry["width"] for entry in row["SegmentationImage:format"]}
        (height,) = {entry["height"] for entry in row["SegmentationImage:format"]}
        shown = np.array(row["SegmentationImage:buffer"][0], np.uint8).reshape(height, width)
        np.testing.assert_array_equal(shown, cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))


def test_missing_sdk_is_told_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    bag = write_bag(tmp_path / "bag", 1)
    with pytest.raises(ViewerError, match="pip install 'rerun-sdk"):
        command(bag, "--out", tmp_path / "out", "--view")
    assert not (tmp_path / "out").exists()
