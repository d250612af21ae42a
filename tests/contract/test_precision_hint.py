"""`clip-rl build-engine` on a CPU without bf16: fp32 is the default, and it says that int8 is faster."""

from __future__ import annotations

from pathlib import Path

import pytest
from clip_rl_perception import options
from clip_rl_perception.commands import build_engine as command
from clip_rl_perception.engine import openvino_engine
from engine_cases import save_random_checkpoint

pytest.importorskip("openvino", reason="the openvino package is not installed")


def test_int8_is_named_where_nobody_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(openvino_engine, "cpu_computes_in_bf16", lambda: False)
    model, out = save_random_checkpoint(tmp_path / "model"), tmp_path / "engine"
    words = ["--checkpoint", str(model), "--size", "64x96", "--threads", "1", "--out", str(out)]
    assert command.run(options.parse(command, words)) == 0
    said = capsys.readouterr()
    assert f"{out}: openvino fp32 64x96" in said.out
    assert said.err.splitlines()[-1].startswith("this CPU computes nothing narrower than fp32 but int8")
