"""`clip-rl replay --view`: the replay on a live page, frame by frame as it is processed.

    view = ReplayView(port=9090)
    view.wait()  # until a browser has the page open, so that nothing is missed
    ...          # the replay, with `view` as an observer
    view.stay()  # until the browser leaves
    view.stop()

Frames are shown while somebody looks, and cost nothing while nobody does.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from clip_rl_perception.runs.observer import SeenFrame
from clip_rl_perception.scene.label_map import full_size_disagreement
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.viewer.frame_view import FrameView
from clip_rl_perception.viewer.rerun_scene import RerunScene
from clip_rl_perception.viewer.sdk import rerun
from clip_rl_perception.viewer.server import DEFAULT_PORT, RerunServer

WAIT_S = 120.0
"""How long a replay waits for somebody to look."""
MEMORY_MB = 1024
"""A replay is looked through from its beginning: about 600 frames."""
_LOOK_PERIOD_S = 0.25


class ReplayView:
    """A `FrameObserver` that shows frames.

    Args:
        port: TCP port of the page; the next one carries the data.
        address: address to listen on.
        tell: gets lines for the user.

    Raises:
        ViewerError: rerun-sdk is missing, or a port is taken.
    """

    def __init__(
        self, *, port: int = DEFAULT_PORT, address: str = "127.0.0.1", tell: Callable[[str], None] = print
    ) -> None:
        module = rerun()
        self._server = RerunServer("clip_rl_replay", address=address, port=port, memory_mb=MEMORY_MB)
        self._scene = RerunScene(module, self._server.stream, live=False)
        self._tell = tell
        self._topic: str | None = None
        self._looked_at = 0.0
        self._viewers = 0
        self.url = self._server.url
        """What to open."""
        self.shown = 0
        """Frames shown so far."""

    def wait(self, limit_s: float = WAIT_S) -> None:
        """Return when somebody looks, or after `limit_s`."""
        self._tell(f"open {self.url} in a browser: the replay begins when the page is open")
        deadline = time.monotonic() + limit_s
        while not self._server.viewers():
            if time.monotonic() > deadline:
                self._tell(f"nobody has opened the page within {limit_s:.0f} s; going on without")
                return
            time.sleep(_LOOK_PERIOD_S)

    def on_frame(self, frame: SeenFrame) -> None:
        """Show it, if somebody looks."""
        if not self._somebody_looks():
            return
        record = frame.record
        self._scene.classes(frame.space)
        if record.topic != self._topic:
            self._topic = record.topic
            self._scene.log(f"{record.sequence}: frame {record.index} on")
        times = dict(record.stage_ms)
        if record.age_ms is not None:
            times["age"] = record.age_ms
        disagreement = None  # of a recording, status tells its mean alone
        if frame.scene is not None:
            disagreement = full_size_disagreement(frame.scene.disagreement, frame.scene.view)
        validity = Validity[record.validity.upper()] if record.validity else _validity(record.kind)
        self._scene.show(
            FrameView(
                stamp_ns=record.stamp_ns,
                validity=validity,
                reason=record.reason,
                times_ms=times,
                image=frame.rgb,
                mask=frame.mask,
                confidence=frame.confidence,
                disagreement=disagreement,
                tags=frame.instruments,
            )
        )
        self.shown += 1

    def close(self) -> None:
        """The replay is over: nothing more is shown; the page stays, see `stay`."""
        self._server.stream.flush(timeout_sec=5.0)

    def stay(self) -> None:
        """Return when nobody looks any more, at once where nobody does, or on Ctrl-C."""
        if self._server.viewers():
            self._tell("the replay is over; its page stays until it is closed (or Ctrl-C)")
        with contextlib.suppress(KeyboardInterrupt):
            while self._server.viewers():
                time.sleep(_LOOK_PERIOD_S)

    def stop(self) -> None:
        """Take the page away."""
        self._server.close()

    def _somebody_looks(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at > _LOOK_PERIOD_S:
            self._looked_at, self._viewers = now, self._server.viewers()
        return self._viewers > 0


def _validity(kind: str) -> Validity:
    """Of a frame of which nothing was told."""
    return Validity.INVALID_INPUT if kind == "invalid" else Validity.OK
