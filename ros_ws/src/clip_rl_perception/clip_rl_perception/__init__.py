"""CLIP-RL surgical perception: endoscope video to segmentation masks and instrument tags.

    import clip_rl_perception

    model = clip_rl_perception.load("demo")
    result = model(rgb)       # uint8 (height, width, 3), red first
    result.labels, result.confidence, result.tags

How the parts fit together: docs/architecture.md. Nothing heavy is imported before `load` is asked for.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Model", "Result", "Video", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("clip_rl_perception.predict.image_model"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
