"""Presets that build on others: `base`, overlays, and what is said when they lead nowhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from clip_rl_perception.typed_data import ConfigError
from clip_rl_training.loop.training_config import load_config
from clip_rl_training.shipped_configs import shipped_names
from clip_rl_training.typed_config import load_layers, overlaid


def test_overlays_go_key_by_key_and_null_takes_a_key_away() -> None:
    base = {"a": 1, "b": {"c": [1, 2], "d": 4}, "e": {"f": 6}}
    assert overlaid(base, {"b": {"c": [3]}, "e": None, "g": {"h": 7}}) == {
        "a": 1,
        "b": {"c": [3], "d": 4},
        "g": {"h": 7},
    }
    assert base == {"a": 1, "b": {"c": [1, 2], "d": 4}, "e": {"f": 6}}


def test_layers_are_read_down_to_the_first(tmp_path: Path) -> None:
    (tmp_path / "top").write_text("base: middle\nx: {own: top}\n")
    (tmp_path / "middle").write_text("base: bottom\nx: {own: middle, mid: 1}\ny: 2\n")
    (tmp_path / "bottom").write_text("x: {low: 3}\ny: 4\nz: 5\n")
    found = load_layers(tmp_path / "top", lambda name: tmp_path / name)
    assert found == {"x": {"low": 3, "own": "top", "mid": 1}, "y": 2, "z": 5}


def test_layers_that_go_round_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("base: two\n")
    (tmp_path / "two").write_text("base: one\n")
    with pytest.raises(ConfigError, match="one: base leads back to it by way of one, two"):
        load_layers(tmp_path / "one", lambda name: tmp_path / name)


def test_presets_load_and_their_parts_are_no_presets() -> None:
    assert "_finetune" not in shipped_names()
    for name in shipped_names():
        config = load_config(name)
        assert config.name == name
        if name == "finetune":
            assert config.start_from == "demo" and list(config.data.label_spaces) == ["dataset"]
            assert 0 < config.data.dataset.hold_out < 1 and config.data.dataset.validation is None
        elif config.data.source == "dataset":
            assert config.model.encoder.pretrained and list(config.data.label_spaces) == [config.data.dataset.name]
            assert config.data.dataset.validation is not None
            assert config.data.dataset.validation.split != config.data.dataset.train.split


def test_a_base_that_does_not_exist_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("base: nowhere\n")
    with pytest.raises(ConfigError, match="no configuration 'nowhere'"):
        load_config(str(path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--config", "nope"), "no configuration 'nope'"),
        (("--config", "demo", "--set", "stepz=1"), "unknown key stepz"),
        (("--config", "demo", "--stop-after", "0"), "--stop-after 0: expected at least 1 step"),
    ],
)
def test_mistakes_in_a_configuration_are_told_before_torch_is_loaded(words: tuple[str, ...], message: str) -> None:
    code = (
        "import sys; from clip_rl_perception.cli import main; status = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    child = subprocess.run([sys.executable, "-c", code, "train", *words], capture_output=True, text=True, check=False)
    assert child.returncode == 2 and message in child.stderr and "Traceback" not in child.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"base: demo\nsteps: 6000\nsteps: 60\n", "key 'steps' is there twice .*line 3"),
        ("base: demo\nnote: à\n".encode("latin-1"), "not YAML: 'utf-8' codec can't decode"),
    ],
)
def test_a_file_that_is_read_otherwise_than_meant_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_config(str(path))
