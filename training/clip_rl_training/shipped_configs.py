"""The YAML files that ship in ``configs`` and its folders, by name; any path works in place of a name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from clip_rl_perception.typed_data import ConfigError


def shipped_folder(folder: str = "") -> Path:
    """A folder of shipped files; empty: that of the training presets."""
    return Path(str(resources.files("clip_rl_training"))) / "configs" / folder


def shipped_names(folder: str = "") -> list[str]:
    """Names of a folder's files, sorted; those that begin with "_" are parts of others."""
    return sorted(path.stem for path in shipped_folder(folder).glob("*.yaml") if path.name[0] != "_")


def find_config(name_or_path: str, folder: str = "", *, what: str = "configuration") -> Path:
    """The shipped file of that name, else the file at that path.

    Raises:
        ConfigError: neither is there; lists the shipped ones.
    """
    shipped = shipped_folder(folder) / f"{name_or_path}.yaml"
    path = shipped if shipped.is_file() else Path(name_or_path)
    if not path.is_file():
        known = ", ".join(shipped_names(folder))
        raise ConfigError(f"no {what} '{name_or_path}': neither a file nor one of {known}")
    return path
