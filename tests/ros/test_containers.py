"""Users without a name or a home, read-only files, small shared memory: a node works, or one line names what to set."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from clip_rl_perception import cli
from clip_rl_perception.engine.load import default_engine_dir
from clip_rl_perception.engine.manifest import FORMAT_VERSION
from clip_rl_perception.errors import one_line
from clip_rl_perception.nodes import image_subscription
from clip_rl_perception.resources import user_cache
from clip_rl_perception.ros import spin
from harness import GUARD_S

NODE = """
from clip_rl_perception.ros.spin import living
from rclpy.node import Node
with living(lambda: Node("small"), ["node", "--ros-args", "-r", "__ns:=/eye"]) as node:
    print(node.get_fully_qualified_name())
"""


def start_node(**environment: str | None) -> tuple[str, str]:
    """What a node's process says, and its errors."""
    full = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    done = subprocess.run(
        [sys.executable, "-c", NODE], capture_output=True, text=True, timeout=GUARD_S, env=full, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


NOT_NAMED = {"ROS_LOG_DIR": None, "ROS_HOME": None}


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({**NOT_NAMED, "HOME": None}, "this user has no HOME"),
        ({**NOT_NAMED, "HOME": ""}, "this user has no HOME"),
        ({**NOT_NAMED, "HOME": "/dev/null/home"}, "/dev/null/home/.ros/log: Not a directory"),
        ({**NOT_NAMED, "HOME": None, "ROS_HOME": "/dev/null/ros"}, "/dev/null/ros/log: Not a directory"),
        ({"ROS_LOG_DIR": "/proc/log"}, "/proc/log: No such file or directory"),
        ({"ROS_LOG_DIR": "~/log", "HOME": "/dev/null"}, "/dev/null/log: Not a directory"),
    ],
)
def test_a_node_without_a_place_for_its_log_works_without(environment: dict[str, str | None], why: str) -> None:
    said, errors = start_node(**environment)
    assert said == "/eye/small"
    assert errors == f"no log file is written: {why}; set ROS_LOG_DIR to a folder that can be written to"


@pytest.mark.parametrize("variable", ["ROS_LOG_DIR", "ROS_HOME", "HOME"])
def test_a_log_is_written_where_it_can_be(tmp_path: Path, variable: str) -> None:
    assert start_node(**{**NOT_NAMED, "HOME": None, variable: str(tmp_path / "new")}) == ("/eye/small", "")
    assert list(tmp_path.rglob("*.log"))


def test_who_has_no_home_has_caches_nowhere_or_where_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(_: int) -> None:
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "CLIP_RL_ENGINES"):
        monkeypatch.delenv(name, raising=False)
    assert not user_cache().exists() and not default_engine_dir("model", (96, 128)).exists()
    assert cli.main(["info"]) == 0
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert (
        default_engine_dir("model", (96, 128))
        == tmp_path / "clip-rl" / "engines" / f"model-96x128-format{FORMAT_VERSION}"
    )


def test_no_temporary_folder_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc"])
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(FileNotFoundError) as caught:
        tempfile.mkdtemp()
    assert one_line(caught.value).endswith("; set TMPDIR to a folder that can be written to")
    (tmp_path / "bag.mcap.zstd").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))  # unpacked into such a folder
    assert cli.main(["bag", "info", str(tmp_path / "bag.mcap.zstd")]) == 2
    told = capsys.readouterr().err
    assert "set TMPDIR" in told and told.count("\n") == 1


def test_shared_memory_of_a_container_is_told_when_it_is_too_small(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    profile = Path(__file__).resolve().parents[2] / "ros_ws/src/clip_rl_perception/config/fastdds_shm.xml"
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    for free, told in ((64 << 20, "/dev/shm has 64 MB free, this process's images need 68"), (1 << 30, "")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: shutil._ntuple_diskusage(2**30, 0, free))
        monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(profile))
        assert spin._small_shared_memory().startswith(told) and bool(spin._small_shared_memory()) == bool(told)
        monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(tmp_path / "missing.xml"))
        assert spin._small_shared_memory() == ""


def test_too_little_shared_memory_is_what_diagnostics_advise_on_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "DEFAULT_PROFILES_FILE=" in image_subscription.advice()
    monkeypatch.setattr(spin, "_too_small", ["/dev/shm has 64 MB free; start the container with --shm-size=1g"])
    assert image_subscription.advice() == (
        "/dev/shm has 64 MB free; start the container with --shm-size=1g, or let it send compressed images"
    )


def test_names_of_any_bytes_are_told(tmp_path: Path) -> None:
    """A folder named in Latin-1 on a disk that is read as UTF-8, and letters that the terminal does not know."""
    folder = os.fsencode(tmp_path) + b"/op\xe9ration"
    os.mkdir(folder)  # noqa: PTH102
    for locale in ("C.UTF-8", "C"):
        done = subprocess.run(
            [sys.executable, "-m", "clip_rl_perception.cli", "bag", "info", folder],
            capture_output=True,
            timeout=GUARD_S,
            env={**os.environ, "LC_ALL": locale, "PYTHONIOENCODING": "ascii" if locale == "C" else "utf-8"},
            check=False,
        )
        assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"ration" in done.stderr, done.stderr
