"""Follows the imports of a Python file to the files that lie beside it; runs none of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from ddp_sweep.errors import SubmissionError

__all__ = ["local_modules"]


def local_modules(file: Path, root: Path) -> set[Path]:
    """A file and all others below ``root`` that it imports, directly or through each other.

    Imports within functions count; names computed at run time cannot be seen.

    Args:
        file: Where to begin.
        root: Folder that absolute imports are looked for in.

    Raises:
        SubmissionError: A file is no valid Python.
    """
    found: set[Path] = set()
    pending = [file, *_packages_above(file, root)]
    while pending:
        one = pending.pop()
        if one not in found:
            found.add(one)
            pending += _imported_by(one, root)
    return found


def _imported_by(file: Path, root: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError) as error:
        raise SubmissionError(f"{file} is not valid Python: {error}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_on_the_way(root, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            start = file.parents[node.level - 1] if node.level else root
            module = node.module.split(".") if node.module else []
            for alias in node.names:
                yield from _files_on_the_way(start, [*module, alias.name])


def _files_on_the_way(start: Path, names: list[str]) -> Iterator[Path]:
    """Files that importing a dotted name runs, as far as they lie below ``start``."""
    place = start
    for name in names:
        module = place / f"{name}.py"
        place = place / name
        if (place / "__init__.py").is_file():
            yield place / "__init__.py"
        elif module.is_file():
            yield module
            return
        elif not place.is_dir():
            return


def _packages_above(file: Path, root: Path) -> list[Path]:
    """The packages that a module is in, which are imported before it."""
    between = [folder for folder in file.parents if folder != root and folder.is_relative_to(root)]
    return [one for folder in between if (one := folder / "__init__.py").is_file()]
