"""How many TCP connections a port has: whether somebody looks. Linux, from /proc."""

from __future__ import annotations

from pathlib import Path

_ESTABLISHED = "01"
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def established(port: int, tables: tuple[Path, ...] = _TABLES) -> int:
    """Number of established connections to the local TCP port `port`.

    Args:
        port: local port of a server of this machine (or container).
        tables: the kernel's lists of sockets (proc(5), /proc/net/tcp); one that is missing counts as empty.
    """
    wanted = f":{port:04X}"
    count = 0
    for table in tables:
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            count += fields[1].endswith(wanted) and fields[3] == _ESTABLISHED
    return count
