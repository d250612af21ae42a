"""Out of memory, for real: a process that may not grow any more infers a frame that needs more than it has."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clip_rl_perception.engine.build import build_engine
from clip_rl_perception.model.checkpoint import Checkpoint
from engine_cases import ANYTHING

PROGRAM = """
import resource, sys
import numpy as np
from clip_rl_perception.engine.load import load_engine
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.model.checkpoint import load_checkpoint

weights, name, height, width, spare_mb = sys.argv[1:]
checkpoint = load_checkpoint(weights)
size = (int(height), int(width))
engine = load_engine(name, checkpoint, input_size=size, threads=1)
text = np.eye(9, 128, dtype=np.float32)
frame = np.zeros((*size, 3), np.uint8)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(spare_mb) * 1_000_000, resource.RLIM_INFINITY))
try:
    engine.infer(frame, text)
except EngineError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(engine.infer(frame, text[:2]).log_probs.shape)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited as Linux does it")
@pytest.mark.parametrize(("backend", "size", "spare_mb"), [("torch", (1024, 1280), 60), ("openvino", (512, 640), 8)])
def test_a_frame_that_does_not_fit_is_one_line_and_the_next_one_is_served(
    checkpoint: Checkpoint, tmp_path: Path, backend: str, size: tuple[int, int], spare_mb: int
) -> None:
    name = backend
    if backend == "openvino":
        if importlib.util.find_spec("openvino") is None:
            pytest.skip("the openvino package is not installed")
        name = str(tmp_path / "engine")
        build_engine(
            checkpoint,
            "openvino",
            Path(name),
            images=[np.zeros((*size, 3), np.uint8)],
            input_size=size,
            precision="fp32",
            threads=1,
            bounds=ANYTHING,
            progress=lambda line: None,
        )
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    arguments = [str(checkpoint.path), name, *map(str, size), str(spare_mb)]
    done = subprocess.run(
        [sys.executable, str(program), *arguments], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    told, after = done.stdout.splitlines()
    assert told.startswith(f"out of memory at {backend} fp32 {size[0]}x{size[1]}: ")
    assert told.endswith("Free memory, or use a smaller network size")
    assert after == f"(2, {size[0] // 4}, {size[1] // 4})"
