"""NodeParameters as rclpy parameters: descriptors with ranges and read-only flags, reading, and checks of changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from clip_rl_perception.nodes.parameters import FIELDS, NodeParameters, check_change, check_value
from clip_rl_perception.ros.parameter_fields import ParameterError, When

_ROS_OWN = ("use_sim_time", "start_type_description_service")


def descriptor(name: str) -> ParameterDescriptor:
    """Descriptor of one parameter: meaning, when it may change, range, choices, read-only flag."""
    metadata = FIELDS[name].metadata
    made = ParameterDescriptor(
        name=name,
        description=f"{metadata['meaning']} Changes {metadata['when'].value}.",
        read_only=metadata["when"] is When.START,
    )
    if metadata["choices"]:
        made.additional_constraints = f"one of: {', '.join(metadata['choices'])}"
    if metadata["low"] is not None:
        if isinstance(FIELDS[name].default, int):
            made.integer_range = [IntegerRange(from_value=metadata["low"], to_value=metadata["high"])]
        else:
            made.floating_point_range = [FloatingPointRange(from_value=metadata["low"], to_value=metadata["high"])]
    return made


def declare_all(node: Node) -> NodeParameters:
    """Declare every parameter on `node`, with values from the command line or a YAML file, and read them.

    Raises:
        ParameterError: a given value is not possible; one line names the parameter.
    """
    for name, field in FIELDS.items():
        try:
            node.declare_parameter(name, field.default, descriptor(name))
        except ParameterException:
            # rclpy's message does not say what would be right; ours does
            check_value(name, node._parameter_overrides[name].value)
            raise
        check_value(name, node.get_parameter(name).value)
    return read(node)


def read(node: Node) -> NodeParameters:
    """The declared parameters' present values."""
    return NodeParameters(**{name: node.get_parameter(name).value for name in FIELDS})


def change_checker(configured: Callable[[], bool]) -> Callable[[list[Parameter]], SetParametersResult]:
    """Callback for `add_on_set_parameters_callback`: refuses what `check_change` refuses, with its reason."""

    def check(changes: list[Parameter]) -> SetParametersResult:
        try:
            for change in changes:
                if change.name in FIELDS:
                    check_change(change.name, change.value, configured=configured())
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    return check


def undeclared_overrides(node: Node) -> list[str]:
    """Names that were given on the command line or in a YAML file but that nothing declared: misspelt, most likely."""
    given: dict[str, Any] = getattr(node, "_parameter_overrides", {})
    return sorted(name for name in given if name not in _ROS_OWN and not node.has_parameter(name))
