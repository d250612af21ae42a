"""Text embeddings of classes for processes that do without torch: another process loads it, answers, and is gone.

A robot runs a compiled engine for hours and is asked for new classes now and then. Loading the text encoder takes
seconds and hundreds of megabytes; in a process of its own, at a low priority, it costs the frames nothing that lasts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np

from clip_rl_perception.arrays import FloatArray
from clip_rl_perception.labels import LabelSpace, label_space_from_dict
from clip_rl_perception.model.checkpoint import Checkpoint, open_checkpoint
from clip_rl_perception.model.checkpoint_files import CheckpointError
from clip_rl_perception.threads.priority import LOW

if TYPE_CHECKING:
    from subprocess import CompletedProcess

LIMIT_S = 300.0
"""Longest that loading and embedding may take; on a busy small computer torch alone takes tens of seconds."""


def text_of(checkpoint: Checkpoint, space: LabelSpace | None = None) -> FloatArray:
    """Text embeddings of a checkpoint's classes, or of those of `space`, float32 (K, D), unit rows.

    Other classes are embedded here where torch is loaded already, else by a process that ends with its answer.

    Raises:
        CheckpointError: the text encoder cannot be loaded, or the checkpoint was replaced since it was read.
    """
    if space is None:
        return checkpoint.text_embeddings
    if "torch" in sys.modules:
        return np.ascontiguousarray(checkpoint.encode_text(space).cpu().numpy(), np.float32)
    request = {"path": str(checkpoint.path), "model_id": checkpoint.model_id, "space": space.to_dict()}
    answer = _ask(json.dumps(request))
    if answer.returncode != 0:
        said = answer.stderr.decode(errors="replace").split("\n")
        reason = next((line for line in reversed(said) if line.strip()), f"exit status {answer.returncode}")
        raise CheckpointError(f"the classes cannot be embedded: {reason}")
    return np.frombuffer(answer.stdout, np.float32).reshape(len(space), checkpoint.embedding_dim).copy()


def _ask(request: str) -> CompletedProcess[bytes]:
    # A Ctrl-C at the terminal is for the node, which ends in its own way; the import path is this process's own.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    try:
        return subprocess.run(
            [sys.executable, "-m", __name__],
            input=request.encode(),
            capture_output=True,
            env=environment,
            timeout=LIMIT_S,
            start_new_session=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckpointError(f"the classes cannot be embedded: {error}") from error


def main() -> int:
    """Answer the request on the standard input: bytes of float32 (K, D) on the standard output."""
    os.nice(LOW)
    request = json.load(sys.stdin)
    try:
        checkpoint = open_checkpoint(request["path"])
        if checkpoint.model_id != request["model_id"]:
            raise CheckpointError(f"{checkpoint.path} was replaced since it was read; load it again")
        text = checkpoint.encode_text(label_space_from_dict(request["space"], "set_classes"))
    except Exception as error:
        sys.stderr.write(f"\n{error}\n")
        return 2
    sys.stdout.buffer.write(np.ascontiguousarray(text.numpy(), np.float32).tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
