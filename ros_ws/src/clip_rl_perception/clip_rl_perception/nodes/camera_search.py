"""Why no image comes though the node listens: what else there is on the network, by its graph. No ROS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from clip_rl_perception.messages.transports import RAW, TRANSPORTS, split_topic, transport_of

SHOWN = 3
"""Topics named at most."""
NO_PICTURES = "/compressedDepth"
"""Ends the topics of another transport, whose messages are CompressedImage as well."""


def nobody_publishes(
    topics: Mapping[str, str],
    transport: str,
    published: Mapping[str, Set[str]],
    *,
    domain: int,
    confined: str,
) -> str:
    """One line: what is on the network in place of what the node waits for, and what to do.

    Args:
        topics: absolute name of the input by transport, remappings included.
        transport: the one in use.
        published: types by topic, of publishers of other nodes.
        domain: the node's ROS domain.
        confined: a setting that hides other machines, as NAME=VALUE; empty without.
    """
    topic, kind = topics[transport], TRANSPORTS[transport]
    others = sorted(published.get(topic, set()) - {kind})
    if others:
        said = f"{topic} carries {' and '.join(others)}, expected {kind}"
        fitting = [found for other in others if (found := transport_of(other)) is not None]
        return f"{said}: {_way_to(topic, fitting[0], transport)}" if fitting else said
    for name, other in topics.items():
        if name != transport and TRANSPORTS[name] in published.get(other, set()):
            return f"no publisher on {topic}, but one on {other}: set image_transport to {name}"
    cameras: dict[str, str] = {}
    for name in sorted(published):
        held = [way for way, other in TRANSPORTS.items() if other in published[name]]
        if held and not name.endswith(NO_PICTURES):
            cameras[name] = transport if transport in held else held[0]
    if cameras:
        # Those of the transport in use first: they need the least change.
        first = min(cameras, key=lambda name: (cameras[name] != transport, name))
        which = "" if len(cameras) == 1 else f"for {first}, "
        way = _way_to(first, cameras[first], transport)
        return f"no publisher on {topic}; images are on {_some(list(cameras))}: {which}{way}"
    hidden = f"; {confined} hides other machines" if confined else ""
    return (
        f"no publisher on {topic}, nor images on any other topic of ROS domain {domain}: start the camera's driver, "
        f"with the same ROS_DOMAIN_ID{hidden}"
    )


def _way_to(topic: str, transport: str, used: str) -> str:
    """How the node takes images of a transport that are on `topic`, whatever that is called."""
    base, named = split_topic(topic)
    if transport == RAW:
        remap = f"remap image to {topic}"
    elif named == transport:
        remap = f"remap image to {base}"
    else:  # not called as its transport: that name alone can be remapped to it
        remap = f"remap image/{transport} to {topic}"
    return remap if transport == used else f"{remap}, set image_transport to {transport}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
