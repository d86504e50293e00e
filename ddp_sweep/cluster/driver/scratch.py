"""Where a run keeps what is of no use after it: what Ray insists on writing, and the progress."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ddp_sweep.results.whole_files import OWNER, is_given_up, owner

__all__ = ["scratch_folder"]

_PREFIX = "ddp-sweep-"
_NAME = re.compile(rf"^{_PREFIX}{OWNER}-")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder of this process; those of processes that were killed go as well."""
    _remove_given_up()
    with tempfile.TemporaryDirectory(
        prefix=f"{_PREFIX}{owner()}-", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _remove_given_up() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        made_by = _NAME.match(folder.name)
        if made_by is not None and is_given_up(folder, made_by):
            # What belongs to another user stays.
            shutil.rmtree(folder, ignore_errors=True)
