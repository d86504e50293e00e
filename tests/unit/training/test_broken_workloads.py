from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from broken_workloads import FAULTS, Fault, OwnStep, Sound

import ddp_sweep
from ddp_sweep.errors import WorkloadError
from ddp_sweep.spec import DataSettings
from ddp_sweep.training.inspection import inspect_workload

PACKAGE = str(Path(ddp_sweep.__file__).parent)
TORCH = str(Path(torch.__file__).parent)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_fault_is_named_before_anything_is_started(fault: Fault) -> None:
    with pytest.raises(WorkloadError) as caught:
        inspect_workload(
            fault.factory,
            fault.options or {},
            DataSettings(),
            loading_processes=fault.loading_processes,
        )
    message = str(caught.value)
    for words in fault.words:
        assert words in message, message
    # The user's lines at most, none of ours, and short enough to be read.
    assert PACKAGE not in message
    assert TORCH not in message
    assert "Traceback" not in message
    assert len(re.findall(r"^  File ", message, re.MULTILINE)) <= 5


def test_the_same_without_a_fault_passes() -> None:
    for factory in (Sound, OwnStep):
        for loading_processes in (False, True):
            facts = inspect_workload(factory, {}, loading_processes=loading_processes)
            assert facts.train_samples == facts.validation_samples == 12
            assert facts.unused_parameters == ()


def test_there_are_faults_in_every_member() -> None:
    told = " ".join(words for fault in FAULTS.values() for words in fault.words)
    for member in (
        *("task", "build_model", "build_data", "loss", "prepare", "training_step"),
        *("EvaluationOutput", "build_optimizer", "build_scheduler", "collate", "augment"),
        "metrics",
    ):
        assert member in told, member
    assert len(FAULTS) >= 20
