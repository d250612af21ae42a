"""Plain data (YAML, ``key=value``) to typed frozen dataclasses; errors name key, value and what was expected."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from clip_rl_perception.errors import ClipRlError

T = TypeVar("T")


class ConfigError(ClipRlError, ValueError):
    """A configuration is not usable; the message names the key and says what was expected."""


def from_data(
    cls: type[T], data: Any, source: str, *, readers: Mapping[type, Callable[[Any, str], Any]] | None = None
) -> T:
    """Build the dataclass `cls` from a mapping.

    Nested dataclasses, tuples, optional values, enumerations written as ``Literal`` and paths are read by their
    annotations; an int is taken where a float is expected, nothing else is converted.

    Args:
        cls: a dataclass.
        data: mapping of field names; absent fields keep their defaults.
        source: what errors call this value, for example the file's name.
        readers: for types with a form of their own: ``reader(value, source)``.

    Raises:
        ConfigError: unknown or missing keys, wrong types.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: expected a mapping, got {_spoken(data)}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(str(key) for key in data if key not in fields)
    if unknown:
        raise ConfigError(
            f"{source}: unknown key{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}; known: {', '.join(fields)}"
        )
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _read(
                hints[name], data[name], f"{source}: {name}" if ":" not in source else f"{source}.{name}", readers or {}
            )
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{source}: key '{name}' is missing")
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error


def to_data(value: Any) -> Any:
    """Plain data (mappings, lists, numbers, strings, None) for a configuration value; the reverse of `from_data`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_data(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_data(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_data(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def load_yaml(path: Path) -> Any:
    """Read one YAML file. Raises `ConfigError` that names the file."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


def load_layers(path: Path, find: Callable[[str], Path]) -> Any:
    """Read a YAML file; where it says ``base: NAME``, its keys are laid over those of that file, which `find` finds.

    Raises:
        ConfigError: names a file that is missing, malformed or its own base.
    """
    layers: list[Any] = []
    seen: list[Path] = []
    while True:
        if path in seen:
            raise ConfigError(f"{path.name}: base leads back to it by way of {', '.join(p.name for p in seen)}")
        seen.append(path)
        data = load_yaml(path)
        layers.append(data)
        if not isinstance(data, dict) or "base" not in data:
            break
        path = find(str(data.pop("base")))
    result = layers.pop()
    while layers:
        result = overlaid(result, layers.pop())
    return result


def overlaid(base: Any, own: Any) -> Any:
    """`own` laid over `base`: mappings key by key, everything else replaced; null takes a key of `base` away."""
    if isinstance(base, dict) and isinstance(own, dict):
        merged = {key: overlaid(base.get(key), own[key]) if key in own else base[key] for key in {**base, **own}}
        return {key: value for key, value in merged.items() if value is not None or key not in own}
    return own


def apply_overrides(data: Any, overrides: Sequence[str]) -> Any:
    """`data` with ``key.subkey=value`` applied; values are YAML. Raises `ConfigError` for malformed assignments."""
    result = _copy(data)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {override}: expected key=value, for example --set optimizer.learning_rate=0.001")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {override}: the value is not YAML: {' '.join(str(error).split())}") from error
        *parents, last = key.strip().split(".")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ConfigError(f"--set {override}: '{parent}' is not a section")
        target[last] = value
    return result


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value


def _read(hint: Any, value: Any, source: str, readers: Mapping[type, Callable[[Any, str], Any]]) -> Any:
    """Read `value` as the annotation `hint`; raises `ConfigError` that starts with `source`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if hint in readers:
        return readers[hint](value, source)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [option for option in arguments if option is not type(None)]
        if len(options) == 1:
            return _read(options[0], value, source, readers)
        raise ConfigError(f"{source}: annotation {hint} is not supported")
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigError(f"{source}: expected one of {', '.join(map(str, arguments))}, got {_spoken(value)}")
        return value
    if origin is tuple:
        return _read_tuple(arguments, value, source, readers)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{source}: expected a mapping, got {_spoken(value)}")
        return {
            _read(arguments[0], key, source, readers): _read(arguments[1], item, f"{source}.{key}", readers)
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(hint):
        return from_data(typing.cast(type[Any], hint), value, source, readers=readers)
    return _read_plain(hint, value, source)


def _read_tuple(
    arguments: tuple[Any, ...], value: Any, source: str, readers: Mapping[type, Callable[[Any, str], Any]]
) -> Any:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{source}: expected a list, got {_spoken(value)}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_read(arguments[0], item, f"{source}[{index}]", readers) for index, item in enumerate(value))
    if len(value) != len(arguments):
        raise ConfigError(f"{source}: expected {len(arguments)} values, got {len(value)}")
    pairs = zip(arguments, value, strict=True)
    return tuple(_read(item_hint, item, f"{source}[{index}]", readers) for index, (item_hint, item) in enumerate(pairs))


def _read_plain(hint: Any, value: Any, source: str) -> Any:
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):
        # YAML 1.1 reads 1e-3 as text; users mean the number.
        try:
            return float(value)
        except ValueError:
            pass
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint in (str, bool) and isinstance(value, hint):
        return value
    names = {float: "a number", int: "a whole number", str: "text", bool: "true or false", Path: "a path"}
    raise ConfigError(f"{source}: expected {names.get(hint, hint)}, got {_spoken(value)}")


def _spoken(value: Any) -> str:
    return "nothing" if value is None else f"{value!r} ({type(value).__name__})"
