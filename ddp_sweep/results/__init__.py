"""A results folder: where everything lies in it, and its tables as pandas frames."""

from ddp_sweep.errors import ResultsWarning
from ddp_sweep.results.folder import (
    Results,
    ResultsFolder,
    load_results,
    local_path,
)
from ddp_sweep.results.seeds import SeedAddition, SeedPurpose
from ddp_sweep.results.tables import mark_final

__all__ = [
    "Results",
    "ResultsFolder",
    "ResultsWarning",
    "SeedAddition",
    "SeedPurpose",
    "load_results",
    "local_path",
    "mark_final",
]
