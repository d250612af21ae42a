"""YAML files that build on each other, and ``key=value`` laid over them."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from clip_rl_perception.errors import one_line
from clip_rl_perception.typed_data import ConfigError
from clip_rl_perception.yaml_files import UniqueKeyLoader


class _Loader(UniqueKeyLoader):
    """YAML 1.1 reads 1e-3 as text; users mean the number."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))


def load_yaml(path: Path) -> Any:
    """Read one YAML file. Raises `ConfigError` that names the file."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {one_line(error)}") from error


def load_layers(path: Path, find: Callable[[str], Path], above: tuple[Path, ...] = ()) -> Any:
    """Read a YAML file; where it says ``base: NAME``, its keys are laid over those of that file, which `find` finds.

    Args:
        path: the file.
        find: the file of a name.
        above: files that are laid over this one.

    Raises:
        ConfigError: names a file that is missing, malformed or its own base.
    """
    if path in above:
        raise ConfigError(f"{path.name}: base leads back to it by way of {', '.join(p.name for p in above)}")
    data = load_yaml(path)
    if not isinstance(data, dict) or "base" not in data:
        return data
    return overlaid(load_layers(find(str(data.pop("base"))), find, (*above, path)), data)


def overlaid(base: Any, own: Any) -> Any:
    """`own` laid over `base`: mappings key by key, everything else replaced; null takes a key of `base` away."""
    if isinstance(base, dict) and isinstance(own, dict):
        merged = {key: overlaid(base.get(key), own[key]) if key in own else base[key] for key in {**base, **own}}
        return {key: value for key, value in merged.items() if value is not None or key not in own}
    return own


def apply_overrides(data: Any, overrides: Sequence[str]) -> Any:
    """`data` with ``key.subkey=value`` applied; values are YAML. Raises `ConfigError` for malformed assignments."""
    result = copy.deepcopy(data)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {override}: expected key=value, for example --set optimizer.learning_rate=0.001")
        try:
            value = yaml.load(text, _Loader)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {override}: the value is not YAML: {one_line(error)}") from error
        *parents, last = key.strip().split(".")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ConfigError(f"--set {override}: '{parent}' is not a section")
        target[last] = value
    return result


def check_number(name: str, value: float, *, least: float, most: float = math.inf, below: float = math.inf) -> None:
    """Raise `ValueError` with `name` unless `value` is from `least` to `most`, and below `below`."""
    if not (least <= value <= most and value < below):
        end = f"below {below:g}" if below < math.inf else f"{most:g}" if most < math.inf else ""
        expected = f"from {least:g} to {end}" if end else f"at least {least:g}"
        raise ValueError(f"{name} is {value:g}; expected {expected}")
