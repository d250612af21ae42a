"""Qualities of service by what they mean. Overriding changes the profile that it is given: let it have a copy."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def reliable(depth: int) -> QoSProfile:
    """Nothing is lost while no more than `depth` messages wait; suits every subscriber, best effort ones too."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.RELIABLE)


def best_effort(depth: int) -> QoSProfile:
    """Never holds anybody up; a subscriber with it takes every publisher."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def latched() -> QoSProfile:
    """Late subscribers get the current value."""
    profile = reliable(1)
    profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
    return profile
