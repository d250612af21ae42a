"""Out of memory, for real: a process that may not grow any more infers a frame that needs hundreds of megabytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from clip_rl_perception.model.checkpoint import Checkpoint

PROGRAM = """
import resource, sys
import numpy as np
from clip_rl_perception.engine.load import load_engine
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.model.checkpoint import load_checkpoint

checkpoint = load_checkpoint(sys.argv[1])
size = (2048, 2560)
engine = load_engine("torch", checkpoint, input_size=size, threads=1)
text = np.ascontiguousarray(checkpoint.text.numpy(), np.float32)
frame = np.zeros((*size, 3), np.uint8)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        engine.infer(frame, text)
    except EngineError as error:
        print(error)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
small = load_engine("torch", checkpoint, input_size=(64, 96), threads=1)
print(small.infer(np.zeros((64, 96, 3), np.uint8), text).logits.shape)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited as Linux does it")
def test_a_frame_that_does_not_fit_is_one_line_and_the_process_lives(checkpoint: Checkpoint, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program), str(checkpoint.path)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second, after = done.stdout.splitlines()
    for line in (first, second):
        assert line.startswith("out of memory at torch fp32 2048x2560: ")
        assert line.endswith("Free memory, or use a smaller network size")
    assert after == f"({len(checkpoint.label_space)}, 16, 24)"
