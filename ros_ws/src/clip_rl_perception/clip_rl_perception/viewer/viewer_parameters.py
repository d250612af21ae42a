"""Parameters of rerun_viewer_node. No ROS here; all are read at start."""

from __future__ import annotations

import dataclasses
from typing import Any

from clip_rl_perception.ros.parameter_fields import ParameterError, When, setting
from clip_rl_perception.viewer.server import DEFAULT_MEMORY_MB, DEFAULT_PORT


@dataclasses.dataclass(frozen=True)
class ViewerParameters:
    """What the viewer node is started with."""

    port: int = setting(
        DEFAULT_PORT, "TCP port of the page; the next one carries the data.", when=When.START, low=1, high=65534
    )
    address: str = setting(
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 lets every machine that reaches this one see the patient's images.",
        when=When.START,
    )
    memory_mb: int = setting(
        DEFAULT_MEMORY_MB, "Most data kept for browsers that come later, MB.", when=When.START, low=16, high=65536
    )
    max_hz: float = setting(
        10.0,
        "Most pictures shown per second, Hz; times and validity are shown of every frame.",
        when=When.START,
        low=0.1,
        high=240.0,
    )
    confidence: bool = setting(True, "Show the confidence map, which the node then computes.", when=When.START)
    image_transport: str = setting(
        "raw",
        "Which images to show: raw (image) or compressed (image/compressed).",
        when=When.START,
        choices=("raw", "compressed"),
    )


VIEWER_FIELDS: dict[str, dataclasses.Field[Any]] = {field.name: field for field in dataclasses.fields(ViewerParameters)}


def viewer_parameters(given: dict[str, Any]) -> ViewerParameters:
    """The parameters with these values; whole numbers serve for floats.

    Raises:
        ParameterError: a value is of another type, out of range, or none of the choices.
    """
    values = dict(given)
    for name, field in VIEWER_FIELDS.items():
        kind = type(field.default)
        if kind is float and type(values[name]) is int:
            values[name] = float(values[name])
        value, low, high = values[name], field.metadata["low"], field.metadata["high"]
        if type(value) is not kind:
            raise ParameterError(f"{name}: {value!r} is {type(value).__name__}; expected {kind.__name__}")
        if low is not None and not low <= value <= high:
            raise ParameterError(f"{name}: {value} is out of range; {low} to {high} is possible")
        if field.metadata["choices"] and value not in field.metadata["choices"]:
            raise ParameterError(f"{name}: '{value}' is none of {', '.join(field.metadata['choices'])}")
    return ViewerParameters(**values)
