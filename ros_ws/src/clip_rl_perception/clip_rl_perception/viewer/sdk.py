"""rerun-sdk where it is installed, or one line that says how to get it."""

from __future__ import annotations

import importlib
from typing import Any

from clip_rl_perception.errors import ClipRlError

INSTALL = "pip install 'rerun-sdk>=0.39,<0.42'"
"""What brings it; the same bounds as in the extra `viewer`."""


class ViewerError(ClipRlError, RuntimeError):
    """The viewer cannot be shown; one line says why and what to do."""


def rerun() -> Any:
    """The module `rerun`.

    Raises:
        ViewerError: it is not installed, or not one that this package can use.
    """
    try:
        module = importlib.import_module("rerun")
        importlib.import_module("rerun.blueprint")
    except ImportError as error:
        raise ViewerError(f"the live page needs rerun-sdk, which cannot be imported ({error}): {INSTALL}") from error
    missing = [name for name in ("GrpcServerSink", "StateChange", "SegmentationImage") if not hasattr(module, name)]
    if missing:
        version = getattr(module, "__version__", "of another maker")
        raise ViewerError(f"rerun {version} has no {', '.join(missing)}: {INSTALL}")
    return module
