"""The command line: each verb reads its arguments, calls one function and prints the outcome.

Modules are imported inside the verbs, so that ``validate`` and ``rank`` start without torch and
Ray. Data goes to stdout, everything else to stderr.
"""

from __future__ import annotations

from ddp_sweep.cli.app import app, main

__all__ = ["app", "main"]
