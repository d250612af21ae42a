"""Which generator drew a scene: a fingerprint of the code that decides about pixels and labels."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from pathlib import Path

from clip_rl_training.shipped_configs import shipped_folder
from clip_rl_training.typed_config import load_yaml

_NO_PIXELS = (
    "__init__", "frame_tags", "generator_version", "render_jobs", "stereo_set", "synthetic_bag", "synthetic_errors",
    "write_video",
)  # fmt: skip
"""Files that write scenes or talk about them; what they draw is decided elsewhere."""


@functools.lru_cache(maxsize=1)
def generator_version() -> str:
    """12 hex digits that change when the generator's code or its data does; comments and layout do not count.

    Another minor version of Python may parse the same code into another tree, hence give another fingerprint.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        if path.stem not in _NO_PIXELS:
            digest.update(path.name.encode() + b"\0" + code_fingerprint(path.read_text(encoding="utf-8")))
    for path in sorted(shipped_folder("synthetic").glob("*.yaml")):
        digest.update(path.name.encode() + b"\0" + json.dumps(load_yaml(path), sort_keys=True).encode())
    return digest.hexdigest()[:12]


def code_fingerprint(source: str) -> bytes:
    """SHA-256 of Python source as its syntax tree, without docstrings and other bare strings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [entry for entry in body if not _bare_string(entry)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).digest()


def _bare_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
