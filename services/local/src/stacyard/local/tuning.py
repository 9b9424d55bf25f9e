"""Sane settings of PostgreSQL for the memory of this machine."""

from __future__ import annotations

import os
from pathlib import Path

_CONFIGURATION = """\
# Written by stacyard at every start; put your own into postgresql.conf, after the line that includes this.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{socket_directory}'
max_connections = 100
cluster_name = 'stacyard'

# of {memory_mb} MB of memory: the tilers and the page cache want the larger part
shared_buffers = {shared_buffers_mb}MB
effective_cache_size = {effective_cache_mb}MB
work_mem = {work_mem_mb}MB
maintenance_work_mem = {maintenance_work_mem_mb}MB

# bulk loads write much at once; nothing here gives up durability
fsync = on
synchronous_commit = on
wal_compression = on
max_wal_size = 2GB
min_wal_size = 256MB

# our statements are short: compiling one takes longer than running it
jit = off
random_page_cost = 1.1
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
"""


def server_configuration(port: int, socket_directory: str, memory: int) -> str:
    """The text of the server's configuration.

    Args:
        port: on which it listens on loopback.
        socket_directory: of its unix socket; empty for none.
        memory: what it may reckon with, in MB.
    """
    return _CONFIGURATION.format(
        port=port,
        socket_directory=socket_directory.replace("'", "''"),
        memory_mb=memory,
        shared_buffers_mb=_within(128, memory // 8, 8192),
        effective_cache_mb=_within(256, memory // 2, 65536),
        work_mem_mb=_within(4, memory // 512, 64),
        maintenance_work_mem_mb=_within(64, memory // 32, 1024),
    )


def memory_mb() -> int:
    """Memory that we may use: the machine's, or what our control group is limited to."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return machine
    return min(machine, int(limit) // 2**20) if limit.isdigit() else machine


def _within(least: int, value: int, most: int) -> int:
    return max(least, min(value, most))
