"""From a sweep file to a ``SweepSpec``, or to the list of everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ddp_sweep.errors import SpecError, SpecProblem
from ddp_sweep.spec.document import Places, override, read_document
from ddp_sweep.spec.messages import explain
from ddp_sweep.spec.rules import broken_rules
from ddp_sweep.spec.sweep_spec import SweepSpec

__all__ = ["load_spec", "parse_spec"]


def load_spec(path: Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read and check a sweep file.

    Args:
        path: The file; relative paths in it start from its folder.
        overrides: Settings that replace those of the file, each ``a.b=value`` with a YAML value.

    Raises:
        SpecError: Lists every problem with its file, line, what was received and is allowed.
    """
    values, places, problems = read_document(Path(path))
    for assignment in overrides:
        problems += override(values, places, assignment)
    return _checked(values, places, problems).located(Path(path).parent, places)


def parse_spec(mapping: Mapping[str, Any], *, source: str | None = None) -> SweepSpec:
    """Check settings that are already in memory; relative paths start from the current folder.

    Args:
        mapping: The settings as a sweep file holds them.
        source: What error messages call the place the settings came from.

    Raises:
        SpecError: Lists every problem with what was received and is allowed.
    """
    places = Places(file=source)
    return _checked(mapping, places, []).located(Path.cwd(), places)


def _checked(values: Mapping[str, Any], places: Places, problems: list[SpecProblem]) -> SweepSpec:
    found = list(problems)
    found += [places.problem(path, message) for path, message in broken_rules(values)]
    try:
        spec = SweepSpec.model_validate(values)
    except ValidationError as error:
        found += [places.problem(path, message) for path, message in explain(error, values)]
    if found:
        # Line 0 is the file as a whole; the order of the file is the order to mend it in.
        raise SpecError(sorted(found, key=lambda problem: problem.line or 0))
    return spec
