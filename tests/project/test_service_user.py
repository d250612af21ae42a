"""What `scripts/install.sh service` says of the user that the node shall run as; by root alone, as on a robot."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NO_ENGINE = "no engine is built for {}"
LOGS_OUT = "{0} is no system user: when {0} logs out"
pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("runuser") is None, reason="only root can be somebody else"
)


class Checkout:
    """Scripts alone, for all to read, with an environment that tells what it is to tell."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder, self.units, self.linger = folder, folder / "units", folder / "linger"
        self.units.mkdir()
        self.linger.mkdir()
        for part in ("scripts", "deploy"):
            shutil.copytree(ROOT / part, folder / part)
        self.has_engine(True)

    def has_engine(self, built: bool) -> None:
        """Also refuses whoever does not come home."""
        told = '{"models": {"demo": {"compiled": "%s"}}}' % ("/engines/demo" if built else "no")
        home = '[ "$HOME" = "$(getent passwd "$(id -un)" | cut -d: -f6)" ] || exit 1'
        (self.folder / "scripts/enter.sh").write_text(f"#!/bin/sh\n{home}\n[ $1 = true ] || echo '{told}'\n")

    def install(self, user: str) -> subprocess.CompletedProcess[str]:
        variables = {"CLIP_RL_USER": user, "CLIP_RL_LINGER": str(self.linger), "HOME": "/root"}
        variables |= {"CLIP_RL_UNITS": str(self.units), "CLIP_RL_DEFAULTS": str(self.units)}
        command = [self.folder / "scripts/install.sh", "service"]
        return subprocess.run(
            command, capture_output=True, text=True, env=os.environ | variables, timeout=60, check=False
        )

    def says(self, user: str) -> str:
        done = self.install(user)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture
def checkout() -> Iterator[Checkout]:
    # Not pytest's folder, which is for one user alone.
    with tempfile.TemporaryDirectory() as folder:
        yield Checkout(Path(folder))


def test_a_user_who_cannot_read_the_checkout_is_refused_before_anything_is_written(checkout: Checkout) -> None:
    checkout.folder.chmod(0o700)
    done = checkout.install("daemon")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and done.stdout == "" and list(checkout.units.iterdir()) == []
    assert line.startswith(f"install: daemon cannot use {checkout.folder} (") and "Permission denied" in line
    assert checkout.install("root").returncode == 0


def test_an_environment_that_is_not_set_up_is_refused(checkout: Checkout) -> None:
    shutil.copy(ROOT / "scripts/enter.sh", checkout.folder / "scripts/enter.sh")
    done = checkout.install("daemon")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and "run: make setup" in line


def test_an_engine_that_is_not_built_is_told(checkout: Checkout) -> None:
    assert NO_ENGINE.format("daemon") not in checkout.says("daemon")
    checkout.has_engine(False)
    assert NO_ENGINE.format("daemon") in checkout.says("daemon")


def test_whose_shared_memory_goes_at_logging_out_is_told(checkout: Checkout) -> None:
    settings = Path("/etc/systemd/logind.conf")
    if settings.is_file() and "RemoveIPC=no" in settings.read_text(encoding="utf-8").splitlines():
        pytest.skip("this machine keeps shared memory")
    assert "logs out" not in checkout.says("daemon")
    told = checkout.says("nobody")
    assert LOGS_OUT.format("nobody") in told and "loginctl enable-linger nobody" in told
    (checkout.linger / "nobody").touch()
    assert "logs out" not in checkout.says("nobody")
