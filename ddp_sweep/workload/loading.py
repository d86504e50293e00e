"""How the workload that a sweep file names is found and imported."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import cast

from ddp_sweep.errors import WorkloadError
from ddp_sweep.workload.compiled import compiled_digest
from ddp_sweep.workload.protocol import WorkloadFactory
from ddp_sweep.workload.tracebacks import user_traceback

__all__ = ["code_version", "load_workload"]


def load_workload(target: str, base_dir: Path | None = None) -> WorkloadFactory:
    """Import what a sweep file names as its workload.

    Args:
        target: ``package.module:attribute`` or ``path/to/file.py:attribute``.
        base_dir: Folder that a relative file path starts from; the current one if None.

    Raises:
        WorkloadError: The form is wrong, the module cannot be imported (with its own traceback),
            or it has no such attribute.
    """
    place, separator, attribute = target.rpartition(":")
    if not separator or not place or not attribute.isidentifier():
        raise WorkloadError(
            f"workload {target!r}: expected module:attribute or path/to/file.py:attribute"
        )
    if place.endswith(".py"):
        module = _import_file((base_dir or Path.cwd()) / place, target)
    else:
        module = _import_module(place, target)
    factory = getattr(module, attribute, None)
    if factory is None:
        names = [name for name in vars(module) if not name.startswith("_")]
        near = difflib.get_close_matches(attribute, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise WorkloadError(f"workload {target!r}: {place} has no {attribute!r}{hint}")
    if not callable(factory):
        raise WorkloadError(
            f"workload {target!r}: {attribute} is of type {type(factory).__name__}; expected a "
            "class, or a function that returns a workload"
        )
    return cast("WorkloadFactory", factory)


def _import_module(name: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise WorkloadError(
                f"workload {target!r}: no module named {error.name!r} can be found; give a file "
                "as path/to/file.py:attribute, or install the package"
            ) from None
        raise _import_failed(target, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(target, error) from error


def _import_file(path: Path, target: str) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise WorkloadError(f"workload {target!r}: there is no file {path}")
    # One name a path: two files called workload.py must not be taken for each other.
    name = f"ddp_sweep_workload_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise WorkloadError(f"workload {target!r}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # As with `python file.py`, modules that lie beside the file can be imported.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _import_failed(target, error) from error
    return module


def _import_failed(target: str, error: BaseException) -> WorkloadError:
    return WorkloadError(f"workload {target!r} cannot be imported:\n{user_traceback(error)}")


def code_version(factory: WorkloadFactory) -> str:
    """Git commit of the folder a workload lies in and a hash of its source file, ``commit:hash``.

    Either part is ``unknown`` where it cannot be had. A class or function of a notebook, or of
    the script that is being run, has the hash of its compiled code: in the same file stands the
    call that starts the sweep, which may change.
    """
    try:
        source = inspect.getsourcefile(factory)
    except TypeError:  # a class of a notebook; or partial(...), an object with __call__
        source = None
    has_file = source is not None and Path(source).is_file()
    followed = isinstance(factory, type | FunctionType)
    if followed and (not has_file or factory.__module__ == "__main__"):
        digest = compiled_digest(cast("type | FunctionType", factory))
    elif source is not None and has_file:
        digest = hashlib.sha256(Path(source).read_bytes()).hexdigest()[:12]
    else:
        digest = "unknown"
    commit = _commit(Path(source).parent) if source is not None and has_file else None
    return f"{commit or 'unknown'}:{digest}"


def _commit(folder: Path) -> str | None:
    """Git commit that is checked out in a folder; None where there is none."""
    command = ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"]
    try:
        git = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return git.stdout.strip() if git.returncode == 0 else None
