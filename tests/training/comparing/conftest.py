from __future__ import annotations

from pathlib import Path

import dataset_trees as trees
import pytest
import tiny_comparisons


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes of bars."""
    return trees.bars(tmp_path_factory.mktemp("data"), 4, 20, 40)


@pytest.fixture(scope="session")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a comparison that ran to its end, with its configuration and report; tests only add to it."""
    out = tmp_path_factory.mktemp("compare")
    tiny_comparisons.finish(root, out)
    return out
