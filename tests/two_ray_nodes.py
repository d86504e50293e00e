"""A Ray cluster of two nodes, each on a host of its own, and what a user does on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from network_namespaces import TwoHosts

__all__ = ["HEAD", "OTHER", "Ended", "RayNodes", "two_ray_nodes"]

HEAD, OTHER = 0, 1
PORT = 6379
_START_S = 120.0
_RUN_S = 400.0
_BIN = Path(sys.executable).parent


@dataclass(frozen=True, repr=False)
class Ended:
    """How a command on a host ended."""

    code: int
    out: str
    err: str

    def __repr__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


@dataclass
class RayNodes:
    """Two hosts with a Ray node each."""

    hosts: TwoHosts
    scratch: Path
    """Short: Ray puts sockets there, whose paths may have 107 characters."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """As ``--address`` takes it."""
        return f"{self.hosts.addresses[HEAD]}:{PORT}"

    def start_head(self, *, cpus: int) -> None:
        """Start Ray on the first host."""
        options = ["--head", f"--port={PORT}", "--include-dashboard=true"]
        self.start_node(HEAD, options, cpus=cpus)

    def start_other(self, *, cpus: int, environment: Mapping[str, str] | None = None) -> None:
        """Start Ray on the second host, and wait until the first knows it."""
        self.part_disks(self.scratch / str(HEAD))
        self.start_node(OTHER, [f"--address={self.address}"], cpus=cpus, environment=environment)

    def part_disks(self, folder: Path) -> None:
        """Let Ray on the second host have a disk of its own where the head has this folder.

        Ray uses the same path on all nodes, and two of them on one disk take each other's files
        for their own.
        """
        folder.mkdir(exist_ok=True)
        self.hosts.mount_empty(OTHER, folder)

    def start_node(
        self,
        host: int,
        options: Sequence[str],
        *,
        cpus: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``ray start`` on a host."""
        folder = self.scratch / str(host)
        if host == HEAD:  # the others are told by the head
            options = [*options, f"--temp-dir={folder}"]
        words = ["ray", "start", *options, f"--node-ip-address={self.hosts.addresses[host]}"]
        words += [f"--num-cpus={cpus}", "--object-store-memory=100000000"]
        started = self.run(host, words, environment=environment, timeout_s=_START_S)
        assert started.code == 0, started

    def run(
        self,
        host: int,
        words: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        timeout_s: float = _RUN_S,
    ) -> Ended:
        """Run a command on a host, as somebody does who is logged in there."""
        # In files: what a command starts and leaves behind would keep a pipe open.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = self.start(
                host, words, environment=environment, folder=folder, to=(out, err)
            )
            try:
                code = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = 124
            for file in (out, err):
                file.seek(0)
            return Ended(code, out.read(), err.read())

    def start(
        self,
        host: int,
        words: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        to: tuple[object, object],
    ) -> subprocess.Popen[bytes]:
        """Start a command on a host, with what it prints going to two files."""
        return subprocess.Popen(
            self.hosts.command(host, words, folder),
            env=self._environment() | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=to[0],
            stderr=to[1],
        )

    def _environment(self) -> dict[str, str]:
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "GLOO_", "NCCL_"))
        }
        kept |= {"PATH": f"{_BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        # Nothing of the user's that runs these tests: a token in the home folder is taken up.
        kept |= {"HOME": str(self.scratch), "RAY_USAGE_STATS_ENABLED": "0", "COLUMNS": "100"}
        kept["TMPDIR"] = str(self.scratch)
        return kept | dict(self.environment)


@contextmanager
def two_ray_nodes(
    *,
    cpus: tuple[int, int] = (1, 1),
    start: bool = True,
    own_name_is_loopback: bool = False,
) -> Iterator[RayNodes]:
    """Two hosts with Ray on both, and nothing left of them afterwards.

    Args:
        cpus: What Ray offers on each.
        start: Whether Ray is started on them already.
        own_name_is_loopback: As `TwoHosts` has it.
    """
    scratch = Path(tempfile.mkdtemp(prefix="two-", dir="/tmp"))
    try:
        with TwoHosts(None, own_name_is_loopback=own_name_is_loopback) as hosts:
            nodes = RayNodes(hosts, scratch)
            if start:
                nodes.start_head(cpus=cpus[HEAD])
                nodes.start_other(cpus=cpus[OTHER])
            yield nodes
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
