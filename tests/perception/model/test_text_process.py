"""Classes embedded by a process of their own, for one that has no torch: the same numbers, and errors in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_rl_perception.labels import label_space_from_names, load_label_space
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.model.checkpoint import load_checkpoint, open_checkpoint
from clip_rl_perception.model.checkpoint_network import save_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import SegmenterConfig
from clip_rl_perception.model.text_process import text_of

ASKING = """
import os, sys
import numpy as np
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.checkpoint import open_checkpoint
from clip_rl_perception.model.text_process import text_of

path, other, out = sys.argv[1:]
checkpoint, space = open_checkpoint(path), load_label_space("binary")
np.savez(out, own=text_of(checkpoint), binary=text_of(checkpoint, space))
for suffix in (".safetensors", ".json"):
    os.replace(other + suffix, path + suffix)
try:
    text_of(checkpoint, space)
except ClipRlError as error:
    print(error)
assert not {"torch", "open_clip", "scipy.spatial"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def stems(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two checkpoints of random weights with the same classes."""
    folder, space = tmp_path_factory.mktemp("checkpoints"), load_label_space("endovis2018-type")
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        segmenter = ClipRlSegmenter(SegmenterConfig(input_size=(64, 96))).eval()
        calibration = Calibration.uncalibrated(segmenter.embedding_dim)
        save_checkpoint(folder / name, segmenter, space, segmenter.encode_text(space), calibration, {})
    return folder / "first", folder / "second"


def test_without_torch_the_same_embeddings_and_a_replaced_checkpoint_is_refused(
    stems: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = stems
    loaded = load_checkpoint(first)
    expected = text_of(loaded, load_label_space("binary"))
    out = tmp_path / "text.npz"
    asked = subprocess.run(
        [sys.executable, "-c", ASKING, first, second, out], capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0, asked.stderr
    found = np.load(out)
    np.testing.assert_array_equal(found["own"], loaded.text.numpy())
    np.testing.assert_allclose(found["binary"], expected, rtol=0, atol=1e-6)
    assert found["binary"].dtype == np.float32
    assert (
        asked.stdout
        == f"the classes cannot be embedded: {first}.safetensors was replaced since it was read; load it again\n"
    )
    # Here too, where torch is there: the network would be another one's.
    with pytest.raises(Exception, match="was replaced since it was read"):
        _ = loaded.network()


def test_the_network_is_read_when_it_is_asked_for(stems: tuple[Path, Path]) -> None:
    opened = open_checkpoint("demo")
    assert "segmenter" not in vars(opened)
    assert opened.config.input_size == opened.segmenter.config.input_size
    assert opened.embedding_dim == opened.segmenter.embedding_dim
    labels = label_space_from_names(["tissue", "clip"])
    np.testing.assert_array_equal(text_of(opened, labels), opened.encode_text(labels).numpy())
