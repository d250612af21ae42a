"""`clip-rl demo` end to end: real processes, real DDS, small frames, a network with random weights."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.replay.recording import Recording, read_published
from harness import picture

START = 1_700_000_000_000_000_000
FRAMES = 20
RATE = 10.0
LIMIT_S = 600
"""A guard: the demo has limits of its own for each of its steps, and no test asserts a time."""


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of labelled frames at 10 Hz."""
    path = tmp_path_factory.mktemp("demo") / "operation"
    space = load_label_space("endovis2018-type")
    with BagWriter(path) as writer:
        writer.write_label_space(space, START)
        for index in range(FRAMES):
            stamp = START + round(index * 1e9 / RATE)
            labels = np.zeros((96, 128), np.uint8)
            labels[30:60, 20 + index : 60 + index] = 1
            writer.write_image(picture(96, 128, seed=index), stamp)
            writer.write_labels(labels, stamp)
    return path


def demo(*arguments: object, engine: str = "torch") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "clip_rl_perception.cli", "demo", "--engine", engine, *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CLIP_RL_DOMAIN_ID": ""},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        text, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=60)
        raise AssertionError(f"the demo did not end:\n{text}") from None
    return process.returncode, text


def nodes_of(folder: Path) -> dict[str, int]:
    """Name and process id of the running nodes that a demo marked with `folder` has started."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and f"CLIP_RL_TEST={folder}".encode() in (entry / "environ").read_bytes():
                module = (entry / "cmdline").read_bytes().split(b"\0")[2].decode()
                if module.startswith(("clip_rl_perception.nodes.", "clip_rl_perception.harness.")):
                    found[module.rpartition(".")[2]] = int(entry.name)
        except (OSError, IndexError):
            continue
    return found


def wait_for_frames(process: subprocess.Popen[str], out: Path, count: int) -> None:
    """Until the demo has published so many frames."""
    deadline = time.monotonic() + LIMIT_S
    table = out / "frames.jsonl"
    while not table.exists() or len(table.read_text().splitlines()) < count:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


def test_a_bag_comes_back_as_masks_video_and_report(
    bag: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    compiles = importlib.util.find_spec("openvino") is not None
    monkeypatch.setenv("CLIP_RL_ENGINES", str(tmp_path / "engines"))
    status, text = finish(demo("--bag", bag, "--model", checkpoint, "--out", out, engine="auto"))
    assert status == 0, text
    report = json.loads((out / "report.json").read_text())
    assert report["engine"].startswith("openvino" if compiles else "torch"), text
    assert report["frames_sent"] == FRAMES
    assert report["masks_received"] + report["dropped"] == FRAMES
    assert report["masks_received"] > 0
    assert report["wrong_stamps"] == 0
    assert report["transport"] == "raw"
    assert len(report["input_sha256"]) == 64
    assert report["latency_ms"]["p50"] <= report["latency_ms"]["p95"] <= report["latency_ms"]["max"]
    assert report["metrics"]["frames"] == report["masks_received"]
    assert 0 <= report["metrics"]["miou"] <= 1
    assert report["stage_ms"]["network"]["p50"] > 0
    assert report["versions"]["rclpy"]
    page = (out / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 3 * min(4, report["masks_received"])
    video = cv2.VideoCapture(str(out / "overlay.mp4"))
    frames = sum(1 for _ in iter(video.grab, False))
    assert frames == FRAMES
    # Every mask carries the stamp of a frame that was published, and frames were stamped when published, in order.
    published, recording = read_published(out / "frames.jsonl"), Recording(out / "recording")
    stamps = [row.stamp_ns for row in published]
    assert set(recording.mask_received_ns) <= set(stamps)
    assert [row.index for row in published] == list(range(FRAMES))
    assert min(stamps) > START + 10**9
    assert all(received > stamp for stamp, received in recording.mask_received_ns.items())
    assert str(report["masks_received"]) in text and str(out / "report.html") in text


def test_a_folder_played_compressed_has_no_metrics(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(12):
        cv2.imwrite(str(folder / f"frame{index}.png"), picture(96, 128, seed=index)[..., ::-1])
    (folder / "frame12.png").write_bytes(b"damaged")
    out = tmp_path / "out"
    status, text = finish(
        demo(
            "--video",
            folder,
            "--model",
            checkpoint,
            "--rate",
            10,
            "--seconds",
            0.8,
            "--transport",
            "compressed",
            "--out",
            out,
        )
    )
    assert status == 0, text
    report = json.loads((out / "report.json").read_text())
    assert report["frames_sent"] == 8
    assert report["masks_received"] > 0
    assert report["transport"] == "compressed"
    assert report["metrics"] is None


def test_input_that_cannot_be_played_is_one_line_and_status_2(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "imageless") as writer:
        writer.write_label_space(load_label_space("binary"), START)
    for arguments, words in (
        (("--video", tmp_path / "none.mp4"), ("none.mp4", "no such file")),
        (("--bag", tmp_path / "none"), ("none", "no such bag")),
        (("--bag", tmp_path / "imageless"), ("imageless", "no image topic", "/endoscope/labels/classes")),
    ):
        status, text = finish(demo(*arguments, "--out", tmp_path / "out"))
        assert status == 2, text
        assert text.count("\n") == 1 and all(word in text for word in words), text


def test_a_model_that_cannot_be_loaded_is_one_line_and_status_2(bag: Path, tmp_path: Path) -> None:
    status, text = finish(demo("--bag", bag, "--model", tmp_path / "none.safetensors", "--out", tmp_path / "out"))
    assert status == 2, text
    last = text.strip().splitlines()[-1]
    assert last.startswith("clip-rl demo: the perception node cannot be configured: ")
    assert "none.safetensors" in last
    assert not (tmp_path / "out" / "report.json").exists()


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Marks the environment, so that the demo's children can be told from everybody else's processes."""
    monkeypatch.setenv("CLIP_RL_TEST", str(tmp_path))
    yield tmp_path


def test_ctrl_c_while_playing_ends_every_process(bag: Path, checkpoint: Path, marked: Path) -> None:
    out = marked / "out"
    process = demo("--bag", bag, "--model", checkpoint, "--rate", 1, "--out", out)
    try:
        wait_for_frames(process, out, 1)
        assert set(nodes_of(marked)) == {"perception_node", "player_node", "recorder_node"}
        process.send_signal(signal.SIGINT)
        status, text = finish(process)
        assert status == 130, text
        assert nodes_of(marked) == {}
    finally:
        if process.poll() is None:
            process.kill()


def test_a_node_that_dies_while_playing_is_reported(bag: Path, checkpoint: Path, marked: Path) -> None:
    out = marked / "out"
    process = demo("--bag", bag, "--model", checkpoint, "--rate", 2, "--out", out)
    wait_for_frames(process, out, 6)
    os.kill(nodes_of(marked)["perception_node"], signal.SIGKILL)
    status, text = finish(process)
    assert status == 1, text
    report = json.loads((out / "report.json").read_text())
    assert any("the perception node ended" in problem for problem in report["problems"])
    assert nodes_of(marked) == {}
