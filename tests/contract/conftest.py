from __future__ import annotations

from pathlib import Path

import pytest
from clip_rl_perception.model.checkpoint import Checkpoint, load_checkpoint
from engine_cases import save_random_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load_checkpoint(save_random_checkpoint(tmp_path_factory.mktemp("checkpoint") / "model"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where engines are built once for all tests."""
    return tmp_path_factory.mktemp("engines")
