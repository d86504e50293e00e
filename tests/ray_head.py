"""A real Ray head on this machine, with its dashboard and a token, and without ddp_sweep."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

__all__ = ["RayHead", "free_port", "ray_head"]

_START_DEADLINE_S = 180.0
_END_DEADLINE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class RayHead:
    """How to reach it."""

    dashboard: str
    gcs: str
    token: str
    home: Path
    """Home of whoever runs it; results lie below."""


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def ray_head(num_cpus: int) -> Iterator[RayHead]:
    """Start it, and end it with everything it started."""
    # Short: Ray makes sockets below it, whose paths have at most 107 characters.
    scratch = Path(tempfile.mkdtemp(prefix="rh-"))
    gcs, dashboard, *others = (free_port() for _ in range(5))
    head = RayHead(
        dashboard=f"http://127.0.0.1:{dashboard}",
        gcs=f"127.0.0.1:{gcs}",
        token=secrets.token_hex(32),
        home=scratch / "home",
    )
    head.home.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RAY_ADDRESS")}
    environment |= {
        "HOME": str(head.home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": head.token,
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [
        *("ray", "start", "--head", "--block", f"--num-cpus={num_cpus}"),
        *("--node-ip-address=127.0.0.1", f"--port={gcs}", f"--dashboard-port={dashboard}"),
        *(f"--ray-client-server-port={others[0]}", f"--dashboard-agent-listen-port={others[1]}"),
        *(f"--dashboard-agent-grpc-port={others[2]}", "--min-worker-port=0"),
        *("--max-worker-port=0", f"--temp-dir={scratch}", "--object-store-memory=200000000"),
    ]
    log = (scratch / "head.log").open("w+")
    process = subprocess.Popen(
        command, env=environment, cwd=scratch, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        _wait_until_it_answers(head, process, log.name)
        yield head
    finally:
        process.terminate()
        process.wait(_END_DEADLINE_S)
        log.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _wait_until_it_answers(head: RayHead, process: subprocess.Popen[bytes], log: str) -> None:
    ends_at = time.monotonic() + _START_DEADLINE_S
    header = {"Authorization": f"Bearer {head.token}"}
    while True:
        assert process.poll() is None, Path(log).read_text(encoding="utf-8")
        assert time.monotonic() < ends_at, Path(log).read_text(encoding="utf-8")
        try:
            if requests.get(f"{head.dashboard}/api/version", headers=header, timeout=5).ok:
                return
        except requests.exceptions.RequestException:
            pass
        time.sleep(0.5)
