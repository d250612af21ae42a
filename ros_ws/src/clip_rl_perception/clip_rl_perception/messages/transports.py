"""Transports of images as image_transport has them: the type of their messages, and what their topics are called.

The topic of a transport is the base topic with ``/`` and the transport's name; raw images are on the base topic itself.
"""

from __future__ import annotations

from typing import Final

from clip_rl_perception.messages.message_types import COMPRESSED_IMAGE, FFMPEG_PACKET, IMAGE

RAW, COMPRESSED, FFMPEG = "raw", "compressed", "ffmpeg"
TRANSPORTS: Final = {RAW: IMAGE, COMPRESSED: COMPRESSED_IMAGE, FFMPEG: FFMPEG_PACKET}
"""Full name of the message type by the value of the parameter image_transport."""


def topic_of(base: str, transport: str) -> str:
    """The topic of a transport of `TRANSPORTS`."""
    return base if transport == RAW else f"{base}/{transport}"


def split_topic(topic: str) -> tuple[str, str]:
    """Base topic and transport, by the name alone."""
    base, _, last = topic.rpartition("/")
    return (base, last) if last in (COMPRESSED, FFMPEG) else (topic, RAW)


def base_topic(topic: str) -> str:
    """`topic` without the name of a transport at its end."""
    return split_topic(topic)[0]


def eye_topic(topic: str, eye: str) -> str:
    """Where images of one eye would be by itself, of a topic whose pictures hold both: in a namespace of its own."""
    base, transport = split_topic(topic)
    namespace, slash, name = base.rpartition("/")
    return topic_of(f"{namespace}{slash}{eye}/{name}", transport)


def transport_of(kind: str) -> str | None:
    """The transport whose messages are of this type; None: of none."""
    return next((name for name, other in TRANSPORTS.items() if other == kind), None)
