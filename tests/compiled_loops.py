"""What is compiled in this process, for tests that demand that nothing more is."""

from __future__ import annotations

import sys

from numba.core.dispatcher import Dispatcher


def compiled_loops() -> dict[str, int]:
    """How many signatures each compiled loop of the package has, whether compiled here or loaded from the cache."""
    return {
        f"{name}.{loop.__name__}": len(loop.signatures)
        for name, module in list(sys.modules.items())
        if name.startswith("clip_rl_perception.")
        for loop in vars(module).values()
        if isinstance(loop, Dispatcher)
    }
