"""Let `import torchvision` succeed where its compiled operators do not fit the installed torch.

open_clip and timm import torchvision for its transforms. PyPI's torchvision beside a CPU-only torch fails there with
"operator torchvision::nms does not exist", because the Python half registers meta kernels for operators that the
compiled half could not define. Nothing here uses those operators, so defining their schemas is enough.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path

import torch

_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def ensure_torchvision_imports() -> None:
    """Define the operator schemas that torchvision's import needs, unless its own compiled operators load.

    Call before anything that imports torchvision, open_clip or timm. Safe to call again.
    """
    if "torchvision" in sys.modules:
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is not None and spec.origin is not None:
        for name in ("_C.so", "_C.pyd"):
            library = Path(spec.origin).parent / name
            if library.is_file():
                # A library built for another torch or for CUDA refuses here, as it would inside torchvision.
                with contextlib.suppress(OSError, RuntimeError):
                    torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", schema)


ensure_torchvision_imports()
