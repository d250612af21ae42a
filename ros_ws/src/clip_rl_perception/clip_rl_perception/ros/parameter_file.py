"""What a ROS parameter file says, for those who start nodes that must know of each other. No ROS here."""

from __future__ import annotations

from pathlib import Path

import yaml

from clip_rl_perception.errors import one_line
from clip_rl_perception.ros.parameter_fields import ParameterError


def told_in(file: Path, name: str) -> str:
    """The value that a file gives a parameter, whatever node it names; empty where it does not say.

    Args:
        file: a ROS parameter file.
        name: of the parameter.

    Raises:
        ParameterError: the file cannot be read, or gives several values.
    """
    try:
        sections = [yaml.safe_load(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, yaml.YAMLError) as error:
        why = one_line(error)
        raise ParameterError(f"params_file:={file} cannot be read as a ROS parameter file: {why}") from None
    found: set[str] = set()
    while sections:  # names of nodes lie in namespaces of any depth
        section = sections.pop()
        if isinstance(section, dict):
            sections += section.values()
            found |= {str(section[name])} if name in section else set()
    if len(found) > 1:
        raise ParameterError(
            f"params_file:={file} has {name} as {' and '.join(sorted(found))}; expected one for all nodes; "
            "say which by the argument of the launch file"
        )
    return "".join(found)
