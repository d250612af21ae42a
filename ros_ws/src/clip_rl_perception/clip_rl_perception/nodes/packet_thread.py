"""Packets of video on their way to the slot of the newest frame: a decoder must see all of them, in order. No ROS.

The executor's thread hands packets over and returns; a thread of its own decodes every one and hands pictures on, where
only the newest is taken up: turning it into RGB, and all that follows, is done for that one alone.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import traceback
from collections.abc import Callable
from typing import Any

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import one_line
from clip_rl_perception.pictures.encodings import ImageError
from clip_rl_perception.pictures.packet_decoder import Outcome, PacketDecoder

MOST_WAITING = 60
"""Packets that may wait to be decoded; beyond it, all are given up, as a decoder behind its camera never catches up."""
TOO_FAST = "packets came faster than they are decoded"


@dataclasses.dataclass(frozen=True)
class PacketFrame:
    """What became of a packet, in the place of an image message."""

    header: Any
    """Of the packet that held this picture."""
    outcome: Outcome[Any]

    @property
    def decode_ms(self) -> float:
        """Time that the decoder took, ms."""
        return self.outcome.picture.decode_ms if self.outcome.picture is not None else 0.0

    @property
    def doubt(self) -> str:
        """Why the picture may not be what was sent; empty: nothing is known against it."""
        return self.outcome.picture.doubt if self.outcome.picture is not None else ""

    def to_rgb(self) -> ByteArray:
        """uint8 RGB (height, width, 3); raises `ImageError` where there is no picture: why."""
        if self.outcome.picture is None:
            raise ImageError(self.outcome.reason)
        return self.outcome.picture.to_rgb()


class PacketThread:
    """Decodes from its making until `stop`.

    Args:
        after_loss: "wait" or "show", see `AfterLoss`.
        submit: gets what becomes of every packet, on this thread; must return at once.

    Raises:
        PyAvMissingError: PyAV is not installed.
    """

    def __init__(self, after_loss: str, submit: Callable[[PacketFrame], None]) -> None:
        self._decoder: PacketDecoder[Any] = PacketDecoder("show" if after_loss == "show" else "wait")
        self._submit = submit
        self._arrived = threading.Condition()
        self._waiting: collections.deque[Any] = collections.deque()
        self._given_up: list[Any] = []
        self._running = True
        self._thread = threading.Thread(target=self._run, name="clip_rl_packets", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False when its thread has ended though nobody stopped it: then no packet is decoded any more."""
        return not self._running or self._thread.is_alive()

    def put(self, packet: Any) -> None:
        """Hand over a FFMPEGPacket and return at once."""
        with self._arrived:
            if len(self._waiting) >= MOST_WAITING:
                self._given_up += self._waiting
                self._waiting.clear()
            self._waiting.append(packet)
            self._arrived.notify()

    def stop(self) -> None:
        """Decode no more; what waits is left."""
        with self._arrived:
            self._running = False
            self._arrived.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._waiting or not self._running)
                if not self._running:
                    return
                packet, given_up, self._given_up = self._waiting.popleft(), self._given_up, []
            try:
                lost = self._decoder.lost(TOO_FAST) if given_up else []
                lost += [Outcome(message, None, TOO_FAST) for message in given_up]
                outcomes = [*lost, *self._decoder.decode(packet, packet)]
            except Exception as error:  # a fault in decoding must neither end the thread nor pass in silence
                outcomes = self._decoder.abandon(f"{type(error).__name__}: {one_line(error)}", packet)
                outcomes = [*(Outcome(message, None, TOO_FAST) for message in given_up), *outcomes]
            for outcome in outcomes:
                try:
                    self._submit(PacketFrame(outcome.tag.header, outcome))
                except Exception:  # nor must one in what follows, and nobody else would tell of it
                    traceback.print_exc()
