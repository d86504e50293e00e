"""One rank of a group whose ranks run on hosts of their own: python rank_of_two.py --help."""

from __future__ import annotations

import argparse
import datetime
import pickle
import sys
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent))

from trial_runs import run_trial


def main() -> None:
    """Run trials that are handed over as (workload, request) in a file; pickle the reports."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("rank", type=int)
    parser.add_argument("address", help="host:port of rank 0")
    parser.add_argument("wanted", type=Path)
    parser.add_argument("reports", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://{arguments.address}",
        rank=arguments.rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=120),
    )
    wanted = pickle.loads(arguments.wanted.read_bytes())
    reports = [run_trial(arguments.rank, *one) for one in wanted]
    arguments.reports.write_bytes(pickle.dumps(reports))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
