"""Serves a recording stream to browsers: the page, the data, and who is looking."""

from __future__ import annotations

import contextlib
import importlib
import socket
from typing import Any

from clip_rl_perception.viewer.connections import established
from clip_rl_perception.viewer.page import PageServer
from clip_rl_perception.viewer.sdk import ViewerError, rerun

DEFAULT_PORT = 9090
DEFAULT_MEMORY_MB = 256


class RerunServer:
    """A live page on `port`, its data on `port` + 1, until closed.

    Args:
        application: name of letters, digits and _, under which a browser remembers its layout.
        address: address to listen on; with anything but the loopback, other machines can look.
        port: TCP port of the page; the next one carries the data.
        memory_mb: most data kept for browsers that come later, MB; the oldest goes first.

    Raises:
        ViewerError: rerun-sdk is missing, or a port is taken.
    """

    def __init__(
        self,
        application: str = "clip_rl",
        *,
        address: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        memory_mb: int = DEFAULT_MEMORY_MB,
    ) -> None:
        rr = rerun()
        self._data_port = port + 1
        for number in (port, self._data_port):
            _check_free(address, number)
        upstream = _free_port()
        rr.serve_web_viewer(web_port=upstream, open_browser=False)
        self._page = PageServer(address, port, upstream_port=upstream, data_port=self._data_port)
        self.stream: Any = rr.RecordingStream(application)
        """Where to log to."""
        sink = rr.GrpcServerSink(
            address,
            self._data_port,
            server_memory_limit=f"{memory_mb}MB",
            cors_allow_origin=page_origins(address, port),
        )
        self.stream.set_sinks(sink)
        host = socket.gethostname() if address in ("0.0.0.0", "::") else address
        self.url = f"http://{host}:{port}/"
        """What to open in a browser."""

    def viewers(self) -> int:
        """Connections to the data: 0 when nobody looks."""
        return established(self._data_port)

    def close(self) -> None:
        """Send what is left, then stop serving."""
        self.stream.flush(timeout_sec=2.0)
        self.stream.disconnect()
        self._page.close()


def page_origins(address: str, port: int) -> list[str]:
    """Pages that may read the data beside those of localhost: this machine's own, under each of its names.

    A browser sends requests for any page that is open in it. Were every origin allowed, a page from elsewhere could
    read the images of a robot that its visitor's browser can reach.
    """
    if address in ("127.0.0.1", "localhost", "::1"):
        return []
    name = socket.gethostname()
    hosts = {address, name, f"{name}.local", socket.getfqdn()}
    if address in ("0.0.0.0", "::"):
        interfaces = importlib.import_module("psutil").net_if_addrs()  # rerun-sdk brings it
        hosts |= {entry.address for entries in interfaces.values() for entry in entries if "." in entry.address}
    return sorted(f"http://{host}:{port}" for host in hosts)


def _check_free(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ViewerError(
                f"cannot serve on {address}:{port}: {reason}; two free ports are needed, one after the other"
            ) from error


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
