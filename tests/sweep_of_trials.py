"""Trials run by processes of a test, written and ranked as those of a sweep are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ddp_sweep.analysis import Finding, RankedConfiguration, Ranking, rank
from ddp_sweep.reporter import AttemptResult, Reporter, SweepFacts
from ddp_sweep.results import ResultsFolder
from ddp_sweep.schema import Status
from ddp_sweep.training.messages import RankReport, TrialRequest

__all__ = ["all_kinds", "finding", "ranked"]

_STARTED = datetime(2026, 1, 1, tzinfo=UTC)

RunTrial = Callable[[str, TrialRequest], Sequence[RankReport]]


def ranked(
    folder: Path,
    workload: str,
    wanted: Sequence[TrialRequest],
    run: RunTrial,
    **options: Any,
) -> Ranking:
    """Run trials of a workload in order, write their rows, and rank the folder."""
    facts = SweepFacts(
        sweep="test",
        session_id="session",
        placement="exclusive",
        price_per_worker_hour=None,
        ray_version="none",
        ddp_sweep_version="test",
        code_version="test",
    )
    reporter = Reporter(ResultsFolder(folder), facts)
    for position, request in enumerate(wanted):
        reports = run(workload, request)
        trial = replace(request.trial, position=position)
        worst = min(reports, key=lambda report: report.status == Status.SUCCEEDED)
        started = _STARTED + timedelta(minutes=position)
        reporter.commit(
            AttemptResult(
                trial=trial,
                attempt=1,
                status=worst.status,
                status_detail=worst.status_detail,
                reports=reports,
                gang_id="one",
                started_at=started,
                finished_at=started,
            )
        )
    return rank(folder, **options)


def all_kinds(ranking: Ranking) -> set[str]:
    """Kinds of every finding, of the whole and of single configurations."""
    found = {finding.kind for finding in ranking.findings}
    for entry in ranking.configurations:
        found |= {finding.kind for finding in entry.findings}
    return found


def finding(source: Ranking | RankedConfiguration, kind: str) -> Finding:
    """The one finding of a kind."""
    (found,) = [one for one in source.findings if one.kind == kind]
    return found
