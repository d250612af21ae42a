"""Shipped files are found in each kind of installation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from clip_rl_perception import resources


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the module where no package.xml is near, as after a plain `pip install`; returns the prefix."""
    module = tmp_path / "lib" / "python" / "site-packages" / "clip_rl_perception" / "resources.py"
    monkeypatch.setattr(resources, "__file__", str(module))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    return tmp_path


def ship(prefix: Path, name: str, text: str = "") -> Path:
    path = prefix / "share" / "clip_rl_perception" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_source_tree_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ship(tmp_path, "config/fastdds_shm.xml")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    root = Path(__file__).resolve().parents[2]
    expected = root / "ros_ws" / "src" / "clip_rl_perception" / "config" / "fastdds_shm.xml"
    assert resources.share_path("config", "fastdds_shm.xml") == expected


def test_source_tree_is_found_through_the_workspace_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # colcon --symlink-install puts a link to the package into its build folder.
    link = tmp_path / "clip_rl_perception"
    link.symlink_to(Path(resources.__file__).parent)
    monkeypatch.setattr(resources, "__file__", str(link / "resources.py"))
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    assert (resources.share_path("config").parent / "package.xml").is_file()


def test_colcon_share_in_prefix_order(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(installed / "under", "models/demo.json", "under")
    ship(installed / "over", "models/demo.json", "over")
    only_under = ship(installed / "under", "models/other.json")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{installed / 'over'}:{installed / 'under'}")
    assert resources.share_path("models", "demo.json").read_text(encoding="utf-8") == "over"
    assert resources.share_path("models", "other.json") == only_under


def test_pip_share(installed: Path) -> None:
    path = ship(installed, "models/demo.json")
    assert resources.share_path("models/demo.json") == path
    assert resources.share_path("models") == path.parent


def test_missing_file_names_every_place(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/first:{installed}")
    with pytest.raises(resources.ResourceError) as caught:
        resources.share_path("models", "absent.safetensors")
    message = str(caught.value)
    assert "\n" not in message
    assert "'models/absent.safetensors'" in message
    for place in ("/first/share/clip_rl_perception/models", f"{installed}/share/clip_rl_perception/models"):
        assert place in message


def test_empty_prefix_path_is_not_the_working_directory(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    assert list(resources.share_roots()) == [installed / "share" / "clip_rl_perception"]
