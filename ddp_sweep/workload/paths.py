"""Options of a workload that are paths: relative to the sweep file, as every path in it.

Which options are paths the workload itself says: by the annotation ``pathlib.Path`` of its
argument. A worker runs in another folder, so a plain text would mean another file there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ddp_sweep.spec import Json
from ddp_sweep.workload.protocol import Workload, WorkloadFactory

__all__ = ["located", "path_options"]


def located(factory: WorkloadFactory, base_dir: Path | None) -> WorkloadFactory:
    """The same factory, whose path options start from a folder.

    Args:
        factory: A workload class, or a function that returns a workload. An argument annotated as
            ``Path`` (also ``Path | None``, ``list[Path]``) gets absolute paths.
        base_dir: The sweep file's folder; the current one if None.
    """
    folder = (base_dir or Path.cwd()).absolute()
    paths = _path_arguments(factory)

    @functools.wraps(factory, updated=())
    def build(**options: Json) -> Workload:
        found = {
            name: _resolve(value, folder) if name in paths else value
            for name, value in options.items()
        }
        return factory(**found)

    return build


def path_options(
    factory: WorkloadFactory, options: Mapping[str, Json], base_dir: Path
) -> dict[str, list[Path]]:
    """The paths among the options of a workload, absolute, by the name of the option."""
    paths = _path_arguments(factory)
    found = {name: _resolve(value, base_dir) for name, value in options.items() if name in paths}
    return {
        name: value if isinstance(value, list) else [value]
        for name, value in found.items()
        if isinstance(value, list | Path)
    }


def _path_arguments(factory: WorkloadFactory) -> frozenset[str]:
    function: Callable[..., Any] = factory
    if isinstance(factory, type):
        function = factory.__init__  # type: ignore[misc]
    try:
        hints = get_type_hints(function)
    except (AttributeError, NameError, TypeError):  # a name that only a type checker knows
        return frozenset()
    return frozenset(name for name, hint in hints.items() if _is_path(hint))


def _is_path(hint: object) -> bool:
    return hint is Path or any(_is_path(part) for part in get_args(hint))


def _resolve(value: Json, folder: Path) -> Any:  # noqa: ANN401 - a path, a list of them, or neither
    if isinstance(value, str):
        return folder / Path(value).expanduser()
    if isinstance(value, list):
        return [_resolve(one, folder) for one in value]
    return value
