"""How people's YAML files are read: a key that is there twice is refused; YAML alone would keep the last."""

from __future__ import annotations

from typing import Any

import yaml


class UniqueKeyLoader(yaml.SafeLoader):
    """The safe loader, for files without keys that repeat."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping; raises `YAMLError` that names the second of two equal keys and its line."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add((key.tag, str(key.value)))
        return node


def read_yaml(text: str) -> object:
    """What a YAML text holds; raises `YAMLError`, also for a key that a mapping has twice."""
    return yaml.load(text, UniqueKeyLoader)
