"""Whether a run may add to what a results folder holds: the same sweep, by the same code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ddp_sweep.errors import DdpSweepError, ResultsError, SpecChangedError
from ddp_sweep.plan import configuration_ids
from ddp_sweep.results import Results
from ddp_sweep.results.whole_files import write_whole, writing
from ddp_sweep.spec import SweepSpec, parse_spec

__all__ = ["refuse_other_code", "refuse_other_spec", "settle_spec"]

_MAY_CHANGE = (
    "quality.confirm_seeds",
    "resources.checkpoint_every_s",
    "resources.max_attempts",
    "resources.stall_timeout_s",
    "resources.start_timeout_s",
)
"""Settings that no measurement and no judgement of what is there depends on.

How long to wait for workers, and how often to try again, is what the message of a trial that was
given up advises to change. ``trial_timeout_s`` is not among them: it decides what is a failure.
"""
_OTHER_FOLDER = "Take these changes back, or give another folder with --output (in Python output=)"


def refuse_other_spec(results: Results, spec: SweepSpec, *, extend: bool = False) -> bool:
    """Refuse to add to results, or to attempts without one, that another sweep file has led to.

    Args:
        results: What the folder holds; its trials are looked at.
        spec: The sweep file of this run.
        extend: Whether configurations may have been added. All that were there must have stayed.

    Returns:
        Whether the folder's own copy is missing, or differs in what may change.

    Raises:
        ResultsError: There are trials, and the sweep file beside them cannot be read.
        SpecChangedError: It differs in something else; the message names each setting.
    """
    folder = results.folder
    if results.spec is None and folder.spec_file.exists() and not results.trials.empty:
        raise ResultsError(
            f"{folder.spec_file} cannot be read, so nobody knows what the trials there have in "
            "common; mend it from a backup, or give another folder with --output"
        )
    if results.spec is None or (results.trials.empty and not any(folder.attempts.glob("*.json"))):
        return True
    differences = dict(_differences(results.spec, spec.to_mapping()))
    refused = {key: line for key, line in differences.items() if key not in _MAY_CHANGE}
    if extend and refused:
        refused = _beyond_extension(results.spec, spec, refused)
    if refused:
        listed = "\n".join(f"  {line}" for line in refused.values())
        raise SpecChangedError(
            f"{folder.path} was made by another sweep file:\n{listed}\n{_ways_on(refused, extend)}"
        )
    return bool(differences)


def settle_spec(results: Results, spec: SweepSpec, *, extend: bool = False) -> None:
    """Write the sweep file into a new folder; in one that has results, it must be the same.

    Args and errors are those of :func:`refuse_other_spec`, and:

    Raises:
        WriteError: It cannot be written.
    """
    if refuse_other_spec(results, spec, extend=extend):
        file = results.folder.spec_file
        with writing(file):
            write_whole(file, spec.to_yaml())


def refuse_other_code(results: Results, code_version: str, *, accept: bool = False) -> None:
    """Refuse to add to results that another version of the workload's source has given.

    Only the hash of the source counts: a commit elsewhere in the repository changes nothing. The
    newest run there decides, so that a change needs to be accepted once only.

    Args:
        results: What the folder holds.
        code_version: Of the workload now.
        accept: Whether the change is known and wanted.

    Raises:
        SpecChangedError: The source has changed.
    """
    runs = results.trials[results.trials["code_version"].notna()]
    if accept or runs.empty:
        return
    last = runs.sort_values("finished_at", kind="stable")["code_version"].iloc[-1]
    known, now = str(last).partition(":")[2], code_version.partition(":")[2]
    if known != now:
        raise SpecChangedError(
            f"{results.folder.path} was made by another version of the workload's code "
            f"(hash {known} there, {now} now), and its runs cannot be compared with new ones. "
            "Take the change back, give another folder with --output (in Python output=), or, "
            "where the change cannot matter to any result, add --accept-code-change (in Python "
            "additions=Additions(accept_code_change=True))"
        )


def _beyond_extension(
    known: Mapping[str, Any], spec: SweepSpec, differences: Mapping[str, str]
) -> dict[str, str]:
    """The differences that are more than added configurations."""
    try:
        before = configuration_ids(parse_spec(known))
    except DdpSweepError:  # written by another version
        return dict(differences)
    kept = before <= configuration_ids(spec)
    # Where the rate is swept, the one in `training` is only the first of the list.
    rates = (known["sweep"].get("learning_rate"), spec.sweep.axes.get("learning_rate"))
    harmless = ("training.learning_rate",) if all(rates) else ()
    return {
        key: line
        for key, line in differences.items()
        if not kept or not (key.startswith("sweep.") or key in harmless)
    }


def _ways_on(refused: Iterable[str], extend: bool) -> str:
    keys = set(refused)
    if keys == {"seeds"}:
        return (
            "To add seeds, leave `seeds` as it was and run with --more-seeds N (in Python "
            "additions=Additions(more_seeds=N)); or give another folder with --output (in Python "
            "output=)"
        )
    if all(key.startswith("sweep.") for key in keys):
        if extend:
            return (
                "--extend takes configurations that were added; of those that were there, each "
                f"must have stayed as it was. {_OTHER_FOLDER}"
            )
        return (
            "Where configurations were only added, run with --extend (in Python "
            f"additions=Additions(extend=True)). {_OTHER_FOLDER}"
        )
    return _OTHER_FOLDER


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    old, new = dict(_flat(before)), dict(_flat(after))
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            yield key, f"{key}: {old.get(key)} there, {new.get(key)} now"


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value
