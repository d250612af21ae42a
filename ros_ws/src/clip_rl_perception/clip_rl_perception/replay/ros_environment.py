"""The environment of a session's ROS 2 processes: is ROS there, and a DDS domain of their own."""

from __future__ import annotations

import importlib.util
import os
import random
import socket

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.resources import share_path

DOMAIN_VARIABLE = "CLIP_RL_DOMAIN_ID"
"""Environment variable that fixes the session's ROS domain; without it a free one is taken."""

DOMAINS = range(1, 101)
"""Domains whose ports lie below Linux's ephemeral ports (docs.ros.org, About ROS_DOMAIN_ID)."""


class RosMissingError(ClipRlError):
    """This Python cannot import ROS 2; the message says how it can."""


def require_ros() -> None:
    """Raise `RosMissingError` when rclpy or our messages cannot be imported here."""
    for module, reason in (("rclpy", "ROS 2"), ("clip_rl_interfaces", "the ROS workspace")):
        if importlib.util.find_spec(module) is None:
            raise RosMissingError(
                f"{reason} is not available in this Python (no module {module}): run `make setup`, "
                "then `source scripts/env.sh`; `make demo` does both"
            )


def child_environment() -> dict[str, str]:
    """This process's environment with a ROS domain of its own, on this machine only, images through shared memory.

    Raises:
        RosMissingError: the domain in `DOMAIN_VARIABLE` is not possible, or none is free.
    """
    environment = dict(os.environ)
    environment["ROS_DOMAIN_ID"] = str(_domain())
    environment.setdefault("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    profile = str(share_path("config", "fastdds_shm.xml"))
    environment.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", profile)  # Fast DDS 2.x: jazzy
    environment.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", profile)  # Fast DDS 3.x: kilted
    return environment


def _domain() -> int:
    given = os.environ.get(DOMAIN_VARIABLE, "")
    if given:
        if not given.isdecimal() or not 0 <= int(given) <= 232:
            raise RosMissingError(f"{DOMAIN_VARIABLE}={given} is not a ROS domain; expected 0 to 232")
        return int(given)
    candidates = list(DOMAINS)
    random.shuffle(candidates)
    for domain in candidates:
        if is_free(domain):
            return domain
    raise RosMissingError(f"no ROS domain from {DOMAINS[0]} to {DOMAINS[-1]} is free; set {DOMAIN_VARIABLE}")


def is_free(domain: int) -> bool:
    """True when no DDS participant on this machine listens in `domain` (its discovery port can be bound)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", 7400 + 250 * domain))
        except OSError:
            return False
    return True
