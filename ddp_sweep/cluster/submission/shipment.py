"""Which files travel to a cluster: the sweep file, the workload's code, this package; never data.

They are laid out in a folder that Ray copies to every node and starts Python in: this package at
its top, and below ``sweep/`` the user's files as they lie here, so that relative paths hold.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import site
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import ddp_sweep
from ddp_sweep.cluster.submission.followed_imports import local_modules
from ddp_sweep.errors import SubmissionError

__all__ = ["Shipment", "plan_shipment"]

_SWEEP_FOLDER = PurePosixPath("sweep")
_PACKAGE = Path(ddp_sweep.__file__).parent
_NOT_NEEDED = ("__pycache__", "pictures")
_LEFT_OUT = frozenset({"__pycache__", ".git", ".gitignore", ".rayignore"})
"""Of a folder that is sent. Ray would leave out, unsaid, whatever the last two name."""
_NOT_SENT_BY_RAY = frozenset({".venv", "venv"})
_MOST_BYTES = 200 * 1024**2
"""Ray keeps what is sent in the memory of the head node."""


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """What is sent."""

    sweep_file: str
    """Path of the sweep file in the folder that is sent."""
    files: tuple[tuple[Path, str], ...]
    """The user's files: where each lies here, and its path in the folder that is sent."""

    def lay_out(self, folder: Path) -> None:
        """Copy everything into an empty folder, the package included."""
        for source, target in self.files:
            place = folder / target
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place)
        ignored = shutil.ignore_patterns(*_NOT_NEEDED)
        shutil.copytree(_PACKAGE, folder / _PACKAGE.name, ignore=ignored)


def plan_shipment(
    sweep_file: Path, workload: str, base_dir: Path, extra: Sequence[Path] = ()
) -> Shipment:
    """Find the files that a sweep needs beside its data.

    Args:
        sweep_file: The sweep file.
        workload: What it names as its workload, ``place:attribute``.
        base_dir: Folder that relative paths start from, that of the sweep file.
        extra: Files and folders that the user wants sent as well.

    Raises:
        SubmissionError: A file is missing, lies where it cannot be sent from, or is too large.
    """
    place = workload.rpartition(":")[0]
    beside, installed = [sweep_file.resolve()], []
    if place.endswith(".py"):
        code = (base_dir / place).resolve()
        if not code.is_file():
            raise SubmissionError(f"workload {workload!r}: there is no file {code}")
        beside += sorted(local_modules(code, code.parent))
    elif (found := _own_module(place)) is not None:
        root, module = found
        installed = [(file, str(file.relative_to(root))) for file in local_modules(module, root)]
    beside += [file for one in extra for file in _files_of(one)]
    top = Path(os.path.commonpath([str(file.parent) for file in beside]))
    files = {file: str(_SWEEP_FOLDER / file.relative_to(top).as_posix()) for file in beside}
    files |= dict(sorted(installed))
    _require_sendable(files)
    _require_small(files)
    return Shipment(sweep_file=files[beside[0]], files=tuple(files.items()))


def _files_of(given: Path) -> list[Path]:
    path = given.resolve()
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise SubmissionError(f"--ship {given}: there is no such file or folder")
    files = (file for file in path.rglob("*") if file.is_file())
    return sorted(file for file in files if _LEFT_OUT.isdisjoint(file.relative_to(path).parts))


def _own_module(name: str) -> tuple[Path, Path] | None:
    """Where a module lies that no package manager installed, and the folder it is imported from.

    None for modules of this package, of an installed one, and for those that are not here: these
    must be on the cluster.
    """
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    origin = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
    if top == _PACKAGE.name or origin is None or _is_installed(origin):
        return None
    root = origin.parent.parent if origin.name == "__init__.py" else origin.parent
    inside = root.joinpath(top, *rest)
    candidates = (inside.with_suffix(".py"), inside / "__init__.py", origin)
    return root, next(file for file in candidates if file.is_file())


def _is_installed(file: Path) -> bool:
    folders = {*sysconfig.get_paths().values(), *site.getsitepackages()}
    return any(file.is_relative_to(Path(folder).resolve()) for folder in folders)


def _require_sendable(files: Mapping[Path, str]) -> None:
    for source, target in files.items():
        if not _NOT_SENT_BY_RAY.isdisjoint(PurePosixPath(target).parts):
            raise SubmissionError(
                f"{source}: Ray sends no folder called {' or '.join(sorted(_NOT_SENT_BY_RAY))}; "
                "rename it, or send what lies beside it, each with --ship"
            )


def _require_small(files: Iterable[Path]) -> None:
    sizes = {file: file.stat().st_size for file in files}
    if sum(sizes.values()) > _MOST_BYTES:
        largest = max(sizes, key=lambda file: sizes[file])
        raise SubmissionError(
            f"{sum(sizes.values()) / 1024**2:,.0f} MiB would be sent, the largest {largest}; "
            f"allowed: {_MOST_BYTES // 1024**2} MiB. Data belongs on a disk that every node "
            "reads; name its path there in workload_options"
        )
