"""``python -m ddp_sweep.cli``: the program, where its console script is not installed."""

from __future__ import annotations

from ddp_sweep.cli import main

if __name__ == "__main__":
    main()
