"""One rank of an exchange: python rank_of_exchange.py OWN_ADDRESS RANK WORLD_SIZE HOST:PORT."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from ddp_sweep.cluster.gang.interfaces import choose_interface
from ddp_sweep.training.exchange import measure_exchange

if __name__ == "__main__":
    own_address, rank, world_size, meeting_point = sys.argv[1:]
    choose_interface(own_address)
    found = measure_exchange(int(rank), int(world_size), meeting_point, "gloo", 60)
    print(json.dumps(asdict(found)))
