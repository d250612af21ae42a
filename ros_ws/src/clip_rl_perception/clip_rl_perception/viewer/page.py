"""The web page: Rerun's own viewer, passed on from where rerun-sdk serves it, but on the address that was asked for.

rerun-sdk serves its page on every interface, and the page would load fonts and report its use to servers of its maker.
This server opens the page with the data's address filled in, and its content security policy lets the browser speak to
nobody but this machine. (What rerun-sdk serves stays reachable on a port of its own; it is the program, without data.)
"""

from __future__ import annotations

import http.server
import re
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request

from clip_rl_perception.viewer.sdk import ViewerError

_PASSED_ON = ("Content-Type", "rerun-final-length")
_CHUNK = 1 << 20


class PageServer:
    """Serves the page until closed, on threads of its own.

    Args:
        address: address to listen on, for example ``127.0.0.1`` or ``0.0.0.0``.
        port: TCP port.
        upstream_port: where rerun-sdk serves the page on this machine.
        data_port: where the browser finds the data, on the host under which it found the page.

    Raises:
        ViewerError: the port is taken, or the address is none of this machine's.
    """

    def __init__(self, address: str, port: int, *, upstream_port: int, data_port: int) -> None:
        handler = type("Handler", (_Handler,), {"upstream_port": upstream_port, "data_port": data_port})
        try:
            self._server = http.server.ThreadingHTTPServer((address, port), handler)
        except OSError as error:
            raise ViewerError(f"cannot serve the page on {address}:{port}: {error.strerror}") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="clip_rl_page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    upstream_port = 0
    data_port = 0

    def do_GET(self) -> None:
        """Send the browser to the page with the data's address, or pass a file of the page on."""
        host = host_of(self.headers.get("Host", ""))
        parts = urllib.parse.urlsplit(self.path)
        if parts.path == "/" and "url" not in urllib.parse.parse_qs(parts.query):
            self.send_response(302)
            self.send_header("Location", page_query(host, self.data_port))
            self.end_headers()
            return
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.upstream_port}{parts.path}", timeout=30) as answer:
                self.send_response(answer.status)
                for name in _PASSED_ON:
                    if answer.headers.get(name):
                        self.send_header(name, answer.headers[name])
                self.send_header("Content-Security-Policy", policy(host, self.data_port))
                self.end_headers()
                shutil.copyfileobj(answer, self.wfile, _CHUNK)
        except urllib.error.HTTPError as error:
            self.send_error(error.code)
        except ConnectionError:
            self.close_connection = True  # the browser has left
        except OSError:
            self.send_error(502)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: requests are of no interest."""


def host_of(header: str) -> str:
    """The host in a Host header, without its port; ``localhost`` where it names none."""
    match = re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d+)?", header)
    return match[1] if match else "localhost"


def page_query(host: str, data_port: int) -> str:
    """Path and query that open the page on the data of `host`."""
    data = urllib.parse.quote(f"rerun+http://{host}:{data_port}/proxy", safe="")
    return f"/?url={data}&hide_welcome_screen&theme=dark"


def policy(host: str, data_port: int) -> str:
    """Content security policy: scripts and data from this machine only."""
    return (
        "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; "
        f"connect-src 'self' data: blob: http://{host}:{data_port}"
    )
