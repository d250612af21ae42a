"""Why no image comes though the node listens: what else there is on the network, by its graph. No ROS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

SHOWN = 3
"""Topics named at most."""


def nobody_publishes(
    topic: str,
    kind: str,
    published: Mapping[str, Set[str]],
    *,
    transports: Mapping[str, tuple[str, str]],
    domain: int,
    confined: str,
) -> str:
    """One line: what is on the network in place of what the node waits for, and what to do.

    Args:
        topic: absolute name of the input.
        kind: its type, for example ``sensor_msgs/msg/Image``.
        published: types by topic, of publishers of other nodes.
        transports: other transports of the same camera: by the parameter's value their topic and type.
        domain: the node's ROS domain.
        confined: a setting that hides other machines, as NAME=VALUE; empty without.
    """
    others = sorted(published.get(topic, set()) - {kind})
    if others:
        said = f"{topic} carries {' and '.join(others)}, expected {kind}"
        fitting = [name for name, (_, other) in transports.items() if other in others]
        base = topic.rpartition("/")[0]
        return f"{said}: remap image to {base}, set image_transport to {fitting[0]}" if fitting else said
    for name, (other_topic, other) in transports.items():
        if other in published.get(other_topic, set()):
            return f"no publisher on {topic}, but one on {other_topic}: set image_transport to {name}"
    known = {kind, *(other for _, other in transports.values())}
    cameras = sorted(name for name, kinds in published.items() if kinds & known)
    if cameras:
        which = "that" if len(cameras) == 1 else "one of them"
        return f"no publisher on {topic}; images are on {_some(cameras)}: remap image to {which}"
    hidden = f"; {confined} hides other machines" if confined else ""
    return (
        f"no publisher on {topic}, nor images on any other topic of ROS domain {domain}: start the camera's driver, "
        f"with the same ROS_DOMAIN_ID{hidden}"
    )


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
