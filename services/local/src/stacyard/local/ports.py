"""TCP ports of this machine: a free one, one to listen on, and who has it if we cannot."""

from __future__ import annotations

import socket
from pathlib import Path

from stacyard.core.errors import StacyardError


class PortUnavailable(StacyardError):
    """We cannot listen where we were told to; the message says why and what to do."""


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether we could listen on a port of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that child processes may be given; port 0 takes a free one.

    Raises:
        PortUnavailable: the port is taken or not ours to take, or the host is no address of this machine.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        owner = owner_of(port)
        by = f" by {owner}" if owner else ""
        reason = f"is in use{by}" if owner or not is_free(port) else f"cannot be used ({error.strerror or error})"
        raise PortUnavailable(
            f"port {port} of {host} {reason}: stop that, or choose another with --port (0 takes a free one)"
        ) from error
    return listener


def owner_of(port: int) -> str | None:
    """Which process listens on a port, as `name (process id)`; None if we may not know. Linux only."""
    sockets = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening_inodes(table, port)}
    for link in Path("/proc").glob("[0-9]*/fd/*") if sockets else ():
        try:
            if str(link.readlink()) in sockets:
                process = link.parents[1]
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue
    return None


def _listening_inodes(table: str, port: int) -> list[str]:
    """The format is that of proc_net_tcp(5): fields 1, 3 and 9 are local address, state (0A: listening) and inode."""
    try:
        lines = (Path("/proc/net") / table).read_text().splitlines()[1:]
    except OSError:
        return []
    rows = [line.split() for line in lines]
    return [row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port]
