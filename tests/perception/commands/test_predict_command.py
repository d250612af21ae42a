"""`clip-rl predict` as its user meets it: files, exit status, lines, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from clip_rl_perception import cli
from pycocotools.coco import COCO
from replay_inputs import image, write_bag

FAST = ("--checkpoint", "demo", "--engine", "torch", "--refine-steps", "0", "--threads", "1")
LIMIT_S = 180
LONG = 400


def command(*arguments: object) -> int:
    return cli.main(["predict", *map(str, arguments), *FAST])


def test_files_lines_and_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames, out = tmp_path / "my frames", tmp_path / "out"
    frames.mkdir()
    for index in range(3):
        cv2.imwrite(str(frames / f"{index}.jpg"), image(index)[..., ::-1])
    (frames / "1.jpg").write_bytes(b"\xff\xd8 half a picture")
    assert command(frames, "--out", out, "--device", "cpu") == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{out}: 2 frames, 1 left out\n") and "masks/, confidence/, overlays/" in said.out
    assert "note: " in said.err and "1.jpg" in said.err
    told = json.loads((out / "predictions.json").read_text())
    assert told["complete"] and told["model_id"] and told["parameters"]["refine_steps"] == 0
    assert told["parameters"]["device"] == "cpu" and told["label_space"]["classes"][1]["name"] == "instrument"
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["0.png", "2.png"]
    # Again into the same folder, and with classes of the user's own.
    assert command(frames, "--out", out) == 2
    assert capsys.readouterr().err == (
        f"clip-rl predict: {out} holds predictions already; name another folder, or add --overwrite\n"
    )
    assert command(frames, "--out", out, "--overwrite", "--classes", "endovis2018-type", "--no-overlays") == 0
    assert json.loads((out / "predictions.json").read_text())["label_space"]["name"] == "endovis2018-type"
    assert not (out / "overlays").exists()


def test_what_is_wrong_is_one_line_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.png").write_bytes(b"")
    bag = write_bag(tmp_path / "bag", 1, truth=False)
    for arguments, message in (
        ((tmp_path / "none",), "none: no such file or folder; expected a rosbag2, a video, an image or a folder"),
        ((tmp_path / "empty",), "empty: no images in it; expected .png"),
        ((tmp_path / "bad.png",), "bad.png of 0 bytes does not decode"),
        ((bag, "--topic", "/none"), "no images on topic /none"),
        ((bag, "--classes", "nothing"), "no label space 'nothing'"),
        ((bag, "--device", "gpu"), "device 'gpu' is not usable"),
        ((bag, "--frames", "0"), "--frames is 0; expected 1 or more"),
    ):
        assert command(*arguments, "--out", tmp_path / "out") == 2
        said = capsys.readouterr().err.splitlines()
        assert message in said[-1] and "Traceback" not in said, said
        assert not (tmp_path / "out").exists()


def test_no_frame_gave_a_mask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = write_bag(tmp_path / "bag", 2, truth=False)

    def refused(*_: object, **__: object) -> None:
        raise RuntimeError("no power")

    from clip_rl_perception.stream import StreamRunner

    monkeypatch.setattr(StreamRunner, "process", refused)
    assert command(bag, "--out", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "no frame gave a mask" in said.err and "processing failed: RuntimeError: no power" in said.err
    assert "0 frames, 2 left out" in said.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_what_was_done_whole(tmp_path: Path, number: signal.Signals) -> None:
    bag, out = write_bag(tmp_path / "bag", LONG, encoding="jpeg", truth=False), tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "clip_rl_perception.cli", "predict", str(bag), "--out", str(out), *FAST],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        deadline = time.monotonic() + LIMIT_S
        while not (out / "tags.jsonl").exists() or (out / "tags.jsonl").stat().st_size < 2000:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        text, errors = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 128 + number, errors
    assert "interrupted after" in errors and "Traceback" not in errors
    told = json.loads((out / "predictions.json").read_text())
    lines = [json.loads(line) for line in (out / "tags.jsonl").read_text().splitlines()]
    assert not told["complete"] and 1 <= told["frames"] == len(lines) < LONG and f"{len(lines)} frames" in text
    assert {str(path.relative_to(out)) for path in (out / "masks").iterdir()} == {line["mask"] for line in lines}
    assert len(COCO(out / "annotations.json").getImgIds()) == len(lines)
    assert not [path.name for path in out.rglob(".*")]
