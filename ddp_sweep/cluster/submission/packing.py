"""Prints the files of a results folder to stdout, as text that survives a log.

Runs on the cluster, by ``python -c`` with the source of this file: it imports nothing but the
standard library, and the packages of the sweep need not be there. Each line is a mark and one
JSON object; other lines of the log, whoever wrote them, are told apart by the mark.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from pathlib import Path

__all__ = ["MARK", "files_to_send", "main"]

MARK = "ddp-sweep-results:"
MOST_BYTES = 32 * 1024**2
"""Of file contents in one log, which the dashboard holds in memory as a whole."""
PIECE_BYTES = 48 * 1024
TABLES = ("trials", "evals", "steps")
KEPT_BACK = ("_lock", "_checkpoints")
"""Of use to the process that writes them only."""


def position(name: str) -> tuple[int, str]:
    """Where a file stands in the order of sending: the tables, then everything else.

    A trial's row is written last. So it is listed first: what it belongs to is there by then.
    """
    top = name.split("/", 1)[0]
    return (TABLES.index(top) if top in TABLES else len(TABLES), name)


def files_to_send(folder: Path, after: str) -> list[str]:
    """Relative paths of the whole files of a results folder that come after one, in order."""
    names = [f"{table}/{file.name}" for table in TABLES for file in _whole(folder / table)]
    for entry in sorted(folder.glob("_*")):
        if entry.name not in KEPT_BACK:
            inside = [entry, *entry.rglob("*")] if entry.is_dir() else [entry]
            names += [file.relative_to(folder).as_posix() for file in inside if _is_whole(file)]
    left = [name for name in names if not after or position(name) > position(after)]
    return sorted(left, key=position)


def _whole(table: Path) -> list[Path]:
    return [file for file in table.glob("*") if file.is_file() and file.name[0] not in "_."]


def _is_whole(file: Path) -> bool:
    """False for one that is being written, under its name and the number of a process."""
    return file.is_file() and re.search(r"\.\d+$", file.name) is None


def main(given: str, after: str = "") -> int:
    """Print the files that come after one, as many as fit into one log."""
    folder = Path(given).expanduser()
    if not folder.is_dir():
        _say(missing=str(folder), files=0)
        return 0
    _say(folder=str(folder))
    sent, files = 0, 0
    for name in files_to_send(folder, after):
        if sent >= MOST_BYTES:
            _say(more=True, files=files)
            return 0
        try:
            contents = folder.joinpath(name).read_bytes()
        except FileNotFoundError:  # such as the record of an attempt that has ended meanwhile
            continue
        _say(name=name, sha256=hashlib.sha256(contents).hexdigest())
        for at in range(0, len(contents), PIECE_BYTES):
            _say(piece=base64.b64encode(contents[at : at + PIECE_BYTES]).decode())
        sent, files = sent + len(contents), files + 1
    _say(complete=True, files=files)
    return 0


def _say(**fields: object) -> None:
    print(MARK + json.dumps(fields), flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
