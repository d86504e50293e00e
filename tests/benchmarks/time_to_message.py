"""How soon is a broken workload told what is wrong with it? Prints a Markdown table.

Run ``PYTHONPATH=tests python tests/benchmarks/time_to_message.py``.
"""

from __future__ import annotations

import time

from broken_workloads import FAULTS, Fault

from ddp_sweep.errors import WorkloadError
from ddp_sweep.training.inspection import inspect_workload


def told(fault: Fault) -> tuple[str, float]:
    """The message, and the seconds until it came."""
    began = time.perf_counter()
    try:
        inspect_workload(
            fault.factory, fault.options or {}, loading_processes=fault.loading_processes
        )
    except WorkloadError as error:
        return str(error), time.perf_counter() - began
    raise AssertionError(f"{fault.factory.__name__} was not found to be broken")


def main() -> None:
    """Print what each fault is answered with."""
    print("| fault | message | seconds |\n|---|---|---|")
    for name, fault in FAULTS.items():
        message, seconds = told(fault)
        first, *rest = message.splitlines()
        shown = f"{first} ... {rest[-1]}" if rest else first
        print(f"| {name} | {shown.replace('|', '/')} | {seconds:.3f} |")


if __name__ == "__main__":
    main()
