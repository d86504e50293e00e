"""What runs on each node to look at it.

Sent there as it is and not imported, so that it also runs on a node that lacks this package or has
another version of it. It may therefore use nothing of it but what is sent along: see
:data:`SENT_ALONG`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import socket
import subprocess
import time
import uuid
from importlib import metadata, util
from pathlib import Path
from typing import Any

import psutil

from ddp_sweep.cluster.gang.interfaces import choose_interface
from ddp_sweep.training.host_load import usable_cores

__all__ = ["SENT_ALONG", "NodeProbe", "installed_versions"]

SENT_ALONG = (
    "ddp_sweep.cluster.doctor.node_probe",
    "ddp_sweep.cluster.gang.interfaces",
    "ddp_sweep.training.host_load",
)
"""Modules that go along by value."""

_LOAD_WINDOW_S = 1.0
_GPU_QUERY = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
_GPU_QUERY_S = 20.0
_SHARED_MEMORY = Path("/dev/shm")
_VARIABLE = "GLOO_SOCKET_IFNAME"


class NodeProbe:
    """An actor on a node; plain dictionaries go back, which every version can read."""

    def tell_time(self) -> float:
        """This node's clock, in seconds."""
        return time.time()

    def look(self, address: str) -> dict[str, Any]:
        """Facts of this node, but for its clock.

        Args:
            address: What Ray knows it by.
        """
        shared = shutil.disk_usage(_SHARED_MEMORY).total if _SHARED_MEMORY.is_dir() else None
        return {
            "name": socket.gethostname(),
            "load": psutil.cpu_percent(interval=_LOAD_WINDOW_S) / 100,
            "versions": installed_versions(),
            "interface": _interface(address),
            "gpu_models": _gpu_models(),
            "cores": usable_cores(),
            "hardware_threads": psutil.cpu_count(),
            "shared_memory_bytes": shared,
        }

    def write_in(self, folder: str) -> dict[str, Any]:
        """Write a file as results are written: whole, under another name, then renamed."""
        path = Path(folder)
        missing = [one for one in (path, *path.parents) if not one.exists()]
        file = path / f".doctor-{uuid.uuid4().hex}"
        found: dict[str, Any] = {"file": str(file), "made": list(map(str, missing))}
        try:
            path.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_name(f"{file.name}.tmp")
            with unfinished.open("w", encoding="utf-8") as stream:
                stream.write("written by ddp-sweep doctor")
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.rename(file)
            found["free_bytes"] = shutil.disk_usage(path).free
        except OSError as error:
            found["error"] = str(error)
        return found

    def remove(self, written: dict[str, Any]) -> None:
        """Remove what :meth:`write_in` made."""
        file = Path(written["file"])
        with contextlib.suppress(OSError):
            file.with_name(f"{file.name}.tmp").unlink(missing_ok=True)
            file.unlink(missing_ok=True)
            for made in map(Path, written["made"]):
                made.rmdir()


def installed_versions() -> dict[str, str | None]:
    """Of Python and of what a sweep needs; None for what is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("ray", "torch"):
        versions[name] = None
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions | _this_package()


def _this_package() -> dict[str, str | None]:
    """Version and a hash of the source that Python would import, without importing it."""
    # Nothing may be imported of a package that may be another one than this code is of.
    found = util.find_spec("ddp_sweep")
    if found is None or found.origin is None:
        return {"ddp_sweep": None, "source": None}
    folder = Path(found.origin).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.relative_to(folder).as_posix().encode())
        digest.update(file.read_bytes())
    lines = (folder / "__init__.py").read_text(encoding="utf-8").splitlines()
    version = [line.split('"')[1] for line in lines if line.startswith('__version__ = "')]
    return {"ddp_sweep": version[0] if version else "unknown", "source": digest.hexdigest()}


def _interface(address: str) -> dict[str, Any]:
    environment = dict(os.environ)
    own = environment.get(_VARIABLE)
    choose_interface(address, environment)
    gloo = environment.get(_VARIABLE)
    entries = psutil.net_if_addrs().get(gloo or "", [])
    state = psutil.net_if_stats().get(gloo or "")
    internet = (socket.AF_INET, socket.AF_INET6)
    return {
        "gloo": gloo,
        "nccl": environment.get("NCCL_SOCKET_IFNAME"),
        "set_by_user": own is not None,
        "addresses": [
            entry.address.partition("%")[0] for entry in entries if entry.family in internet
        ],
        "is_up": None if state is None else state.isup,
        # Whole megabits; 0 where it is not known, as of loopback.
        "speed_bit_per_s": state.speed * 1e6 if state and state.speed else None,
    }


def _gpu_models() -> list[str] | None:
    """Of all GPUs of the host, also of those that Ray does not offer; None where unknown."""
    if shutil.which(_GPU_QUERY[0]) is None:
        return []
    try:
        asked = subprocess.run(
            _GPU_QUERY, capture_output=True, text=True, timeout=_GPU_QUERY_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return [line.strip() for line in asked.stdout.splitlines() if line.strip()]
