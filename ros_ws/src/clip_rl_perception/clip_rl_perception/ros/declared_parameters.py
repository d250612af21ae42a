"""Settings as rclpy parameters: descriptors with ranges and read-only flags, reading, checked changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from clip_rl_perception.ros.parameter_fields import ParameterError, When, check_change, check_value, fields_of

_ROS_OWN = ("use_sim_time", "start_type_description_service")
Settings = TypeVar("Settings")


def descriptor(field: dataclasses.Field[Any]) -> ParameterDescriptor:
    """Descriptor of one parameter: meaning, when it may change, range, choices, read-only flag."""
    metadata = field.metadata
    made = ParameterDescriptor(
        name=field.name,
        description=f"{metadata['meaning']} Changes {metadata['when'].value}.",
        read_only=metadata["when"] is When.START,
    )
    if metadata["choices"]:
        made.additional_constraints = f"one of: {', '.join(metadata['choices'])}"
    if metadata["low"] is not None:
        if isinstance(field.default, int):
            made.integer_range = [IntegerRange(from_value=metadata["low"], to_value=metadata["high"])]
        else:
            made.floating_point_range = [FloatingPointRange(from_value=metadata["low"], to_value=metadata["high"])]
    return made


def declare_all(node: Node, kind: type[Settings], *, whole_numbers: bool = False) -> Settings:
    """Declare every field of `kind` on `node`, with values from the command line or a YAML file, and read them.

    Args:
        node: gets the parameters.
        kind: a dataclass of settings.
        whole_numbers: let them serve for floats, any number for a text that begins as one (``shaft_mm:=8.4``), and true
            and false for the choices yes and no (``rectified:=yes``).

    Raises:
        ParameterError: a given value is not possible; one line names the parameter.
    """
    for name, field in fields_of(kind).items():
        described = descriptor(field)
        described.dynamic_typing = whole_numbers
        try:
            node.declare_parameter(name, field.default, described)
        except ParameterException:
            # rclpy's message does not say what would be right; ours does
            check_value(field, node._parameter_overrides[name].value)
            raise
        check_value(field, _value(node, field))
    return read(node, kind)


def read(node: Node, kind: type[Settings]) -> Settings:
    """The declared parameters' present values."""
    return kind(**{name: _value(node, field) for name, field in fields_of(kind).items()})


def change_checker(kind: Any, configured: Callable[[], bool]) -> Callable[[list[Parameter]], SetParametersResult]:
    """Callback for `add_on_set_parameters_callback`: refuses what `check_change` refuses, with its reason."""
    fields = fields_of(kind)

    def check(changes: list[Parameter]) -> SetParametersResult:
        try:
            for change in changes:
                if change.name in fields:
                    check_change(fields[change.name], change.value, configured=configured())
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    return check


def undeclared_overrides(node: Node) -> list[str]:
    """Names that were given on the command line or in a YAML file but that nothing declared: misspelt, most likely."""
    given: dict[str, Any] = getattr(node, "_parameter_overrides", {})
    return sorted(name for name in given if name not in _ROS_OWN and not node.has_parameter(name))


def _value(node: Node, field: dataclasses.Field[Any]) -> Any:
    """Only where a parameter's type may change does rclpy hold a number of another type than the field's."""
    value = node.get_parameter(field.name).value
    if type(value) is bool and "yes" in (field.metadata["choices"] or ()):  # YAML reads yes and no as true and false
        return "yes" if value else "no"
    if type(field.default) is str and type(value) in (int, float):
        return str(value)
    return float(value) if type(field.default) is float and type(value) is int else value
