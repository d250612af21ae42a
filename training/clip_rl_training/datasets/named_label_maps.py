"""Label maps by name: the ones that ship in ``configs/label_maps``, or any file."""

from __future__ import annotations

from pathlib import Path

from clip_rl_perception.sources.truth_label_map import LabelMap, LabelMapError, load_label_map

from clip_rl_training.shipped_configs import shipped_folder, shipped_names

FOLDER = "label_maps"
"""Of the shipped ones."""


def find_label_map(name_or_path: str | Path) -> LabelMap:
    """Load a label map: a file, else a shipped one by name. Raises `LabelMapError` that lists the shipped ones."""
    path = Path(name_or_path)
    if path.is_file():
        return load_label_map(path)
    shipped = shipped_folder(FOLDER) / f"{name_or_path}.yaml"
    if len(path.parts) == 1 and shipped.is_file():
        return load_label_map(shipped)
    raise LabelMapError(f"no label map '{name_or_path}': neither a file nor one of {', '.join(shipped_names(FOLDER))}")
