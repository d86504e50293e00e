"""The members of a workload: is each there, spelt right, and callable as it will be called?"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any, cast

from ddp_sweep.errors import WorkloadError
from ddp_sweep.training.step_checks import describe_batch
from ddp_sweep.workload import (
    Binary,
    LanguageModel,
    Multiclass,
    Regression,
    Workload,
    user_traceback,
)

__all__ = ["called", "check_members", "naming_errors"]

_REQUIRED = ("task", "build_model", "build_data", "loss")
_CALLS: dict[str, tuple[str, ...]] = {
    "build_model": (),
    "build_data": (),
    "loss": ("outputs", "targets"),
    "prepare": (),
    "training_step": ("model", "batch"),
    "evaluation_step": ("model", "batch"),
    "build_optimizer": ("model", "learning_rate"),
    "build_scheduler": ("optimizer", "total_steps"),
    "collate": ("samples",),
    "augment": ("sample", "generator"),
}
"""Every method that is called, and with what."""
_ELSEWHERE = {
    "train_step": "training_step",
    "validation_step": "evaluation_step",
    "eval_step": "evaluation_step",
    "collate_fn": "collate",
    "configure_optimizers": "build_optimizer",
}
"""What other libraries call the same thing."""
_NEAR = 0.85


def check_members(workload: Workload) -> None:
    """Refuse a workload whose members are missing, misspelt or cannot be called.

    Raises:
        WorkloadError: Names the member, what was expected and what came.
    """
    misspelt = _misspelt(workload)
    _check_required(workload, misspelt)
    for name, meant in misspelt.items():
        raise WorkloadError(
            f"{type(workload).__name__}.{name} is no member that is used; did you mean {meant}? "
            "If it is for your own use, begin its name with an underscore"
        )
    task = called("task", lambda: workload.task)
    if not isinstance(task, Binary | Multiclass | Regression | LanguageModel):
        raise WorkloadError(
            "task: expected Binary(...), Multiclass(...), Regression() or LanguageModel() from "
            f"ddp_sweep, got {task!r}"
        )
    for name, arguments in _CALLS.items():
        if hasattr(workload, name):
            _check_call(workload, name, arguments)


def _check_required(workload: Workload, misspelt: dict[str, str]) -> None:
    missing = [name for name in _REQUIRED if not hasattr(workload, name)]
    # Steps of one's own make `loss` superfluous.
    if hasattr(workload, "training_step") and hasattr(workload, "evaluation_step"):
        missing = [name for name in missing if name != "loss"]
    if not missing:
        return
    hints = [f"{name} is none; did you mean {meant}?" for name, meant in misspelt.items()]
    raise WorkloadError(
        f"{type(workload).__name__} lacks {', '.join(missing)}; a workload has "
        f"{', '.join(_REQUIRED)}" + "".join(f"; {hint}" for hint in hints)
    )


def _misspelt(workload: Workload) -> dict[str, str]:
    """Methods of a class that are named nearly like a member it lacks, and that member."""
    absent = [name for name in (*_CALLS, "metrics", "task") if not hasattr(workload, name)]
    found = {}
    for name in dir(type(workload)):
        member = inspect.getattr_static(type(workload), name)
        if name.startswith("_") or name in _CALLS or not callable(member):
            continue
        near = difflib.get_close_matches(name, absent, n=1, cutoff=_NEAR)
        meant = _ELSEWHERE.get(name) or (near[0] if near else None)
        if meant is not None and meant in absent:
            found[name] = meant
    return found


def _check_call(workload: Workload, name: str, arguments: tuple[str, ...]) -> None:
    member = getattr(workload, name)
    if not callable(member):
        raise WorkloadError(f"{name}: expected a method, got {member!r}")
    try:
        signature = inspect.signature(member)
    except ValueError:  # a function of an extension module tells nothing of its arguments
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise WorkloadError(
            f"{name}: it is called as {name}({', '.join(arguments)}), and cannot be as "
            f"{name}{signature}: {error}"
        ) from None


def called(
    member: str,
    call: Callable[[], Any],
    given: tuple[Any, ...] = (),
) -> Any:  # noqa: ANN401 - whatever the member returns
    """The result of a user's code; its error with the name of the member.

    Args:
        member: What the user knows it by.
        call: Calls it.
        given: The arguments, for the message.

    Raises:
        WorkloadError: It raised an error; holds the user's part of the traceback.
    """
    try:
        return call()
    except WorkloadError:
        raise
    except (Exception, SystemExit) as error:
        arguments = ", ".join(describe_batch(value) for value in given)
        said = f" when given {arguments}" if arguments else ""
        raise WorkloadError(f"{member} raised an error{said}:\n{user_traceback(error)}") from error


class _NamingErrors:
    """A workload whose members say in their errors which of them it was."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as wide as the workload
        member = getattr(self._workload, name)
        if name not in _CALLS:
            return member
        return lambda *given: called(name, lambda: member(*given), given)


def naming_errors(workload: Workload) -> Workload:
    """The same workload; an error in one of its methods names that method."""
    return cast("Workload", _NamingErrors(workload))
