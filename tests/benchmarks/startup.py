"""How long the verbs that need neither torch nor Ray take to start.

    python tests/benchmarks/startup.py RESULTS_FOLDER [--runs 5]

Each is a whole process, in turn with ``python -c "import pandas"``; medians and their ratios.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

SWEEP = Path(__file__).parents[2] / "sweeps" / "quickstart.yaml"


def seconds(command: list[str]) -> float:
    """Wall time of a process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Run all in turn and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    verb = [sys.executable, "-c", "from ddp_sweep.cli import main; main()"]
    commands = {
        'python -c "import pandas"': [sys.executable, "-c", "import pandas"],
        "ddp-sweep validate": [*verb, "validate", str(SWEEP)],
        "ddp-sweep rank": [*verb, "rank", str(arguments.results)],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for command in commands.values():
        seconds(command)
    for _ in range(arguments.runs):
        for name, command in commands.items():
            times[name].append(seconds(command))
    pandas_s = median(times['python -c "import pandas"'])
    for name, values in times.items():
        print(f"{name:28} {median(values):6.3f} s   {median(values) / pandas_s:5.2f} x pandas")


if __name__ == "__main__":
    main()
