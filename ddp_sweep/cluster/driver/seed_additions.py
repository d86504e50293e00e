"""Which seeds a sweep gets beside those of its file, and the record of them.

Every session that adds seeds after a look at the results is one more chance for luck to pass as
quality, so the analysis must know of each: it judges them on their fresh seeds alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ddp_sweep.analysis import RankedConfiguration, Ranking, RecommendationStatus, Verdict
from ddp_sweep.errors import MoreSeedsError, ResultsError
from ddp_sweep.results import Results, SeedAddition, SeedPurpose
from ddp_sweep.results.whole_files import write_whole, writing, yaml_text
from ddp_sweep.schema import Status
from ddp_sweep.spec import SweepSpec

__all__ = ["SeedBook", "candidate", "confirmation", "seeds_for_all", "seeds_for_undecided"]


class SeedBook:
    """The seeds of one results folder, for the session that writes to it.

    Args:
        results: What the folder holds; no additions in a new one.
        spec: The sweep file.
        session_id: Of this session.

    Raises:
        ResultsError: There is a record that could not be read.
        WriteError: None can be written.
    """

    def __init__(self, results: Results, spec: SweepSpec, session_id: str) -> None:
        file = results.folder.seeds_file
        if not results.additions and file.exists():
            raise ResultsError(
                f"{file} cannot be read, so nobody knows which seeds were added; mend it from a "
                "backup, or give another folder with --output"
            )
        self.additions = results.additions
        self._file = file
        self._session_id = session_id
        # Also those of rows that no addition accounts for: a seed that has run is not fresh.
        self._used = {*spec.seeds, *results.trials["seed"].dropna().astype(int)}
        if not results.additions:
            self.add(SeedAddition(purpose=SeedPurpose.SWEEP, seeds=tuple(spec.seeds)))

    @property
    def added(self) -> tuple[SeedAddition, ...]:
        """What a plan has to add to the seeds of the sweep file."""
        return tuple(one for one in self.additions if one.purpose is not SeedPurpose.SWEEP)

    def fresh(self, count: int) -> tuple[int, ...]:
        """The next whole numbers above every seed that the sweep has had."""
        recorded = (seed for addition in self.additions for seed in addition.seeds)
        first = max(*self._used, *recorded) + 1
        return tuple(range(first, first + count))

    def add(self, addition: SeedAddition) -> None:
        """Write an addition down; only then may its trials run."""
        self.additions = (*self.additions, replace(addition, session_id=self._session_id))
        with writing(self._file):
            write_whole(self._file, yaml_text([_entry(one) for one in self.additions]))


def _entry(addition: SeedAddition) -> dict[str, object]:
    ids = addition.configuration_ids
    return {
        "purpose": addition.purpose.value,
        "seeds": list(addition.seeds),
        "configuration_ids": None if ids is None else list(ids),
        "session_id": addition.session_id,
    }


def seeds_for_all(results: Results, seeds: tuple[int, ...]) -> SeedAddition:
    """Fresh seeds for every configuration that could run so far.

    They are named one by one: what is added to the sweep file later runs with its seeds only.
    """
    ran = results.trials[results.trials["final"] & (results.trials["status"] != Status.INFEASIBLE)]
    return SeedAddition(
        purpose=SeedPurpose.MORE_SEEDS,
        seeds=seeds,
        configuration_ids=tuple(sorted(set(ran["configuration_id"]))),
    )


def seeds_for_undecided(ranking: Ranking, seeds: tuple[int, ...]) -> SeedAddition | None:
    """Fresh seeds for configurations whose quality is not yet known; None if there are none.

    The quality reference runs with them too: without it their fresh seeds would have nothing to
    be compared with.

    Raises:
        MoreSeedsError: Nothing is asked of quality, so that no number of seeds decides.
    """
    if not (ranking.conditions.margins or ranking.conditions.floors):
        raise MoreSeedsError(
            "the sweep file has neither quality.margins nor quality.floors, so no number of seeds "
            "decides; leave out --only undecided to measure every speedup more closely"
        )
    undecided = [
        entry
        for entry in ranking.configurations
        if entry.verdict is Verdict.INCONCLUSIVE and not entry.refuted
    ]
    if not undecided:
        return None
    return SeedAddition(
        purpose=SeedPurpose.MORE_SEEDS,
        seeds=seeds,
        configuration_ids=_ids([ranking.reference, *undecided]),
    )


def candidate(ranking: Ranking) -> RankedConfiguration | None:
    """What is to be confirmed: the winner, or what is next where fresh seeds refuted one.

    None where the winner is confirmed already, and where there is none.
    """
    chosen = ranking.recommendation
    if chosen.status is RecommendationStatus.CONFIRMED:
        return None
    return chosen.fastest or chosen.next_candidate


def confirmation(
    ranking: Ranking, results: Results, seeds: tuple[int, ...]
) -> SeedAddition | None:
    """Fresh seeds for a candidate and for what its speed and quality are relative to.

    None where there is no candidate, where it is the speed baseline itself, where it has had its
    confirmation, and where nothing but a confirmation was measured since the last one: else the
    seeds of one confirmation could choose a new winner, whose seeds choose the next.
    """
    winner = candidate(ranking)
    if winner is None:
        return None
    if winner.configuration_id == ranking.baseline.configuration_id:
        return None
    before = [one for one in results.additions if one.purpose is SeedPurpose.CONFIRMATION]
    if any(winner.configuration_id in (one.configuration_ids or ()) for one in before):
        return None
    if before and not _measured_since(results, before[-1]):
        return None
    return SeedAddition(
        purpose=SeedPurpose.CONFIRMATION,
        seeds=seeds,
        configuration_ids=_ids([winner, ranking.reference, ranking.baseline]),
    )


def _measured_since(results: Results, last: SeedAddition) -> bool:
    confirms, ended = results.trials["seed"].isin(last.seeds), results.trials["finished_at"]
    return bool((ended[~confirms] > ended[confirms].min()).any())


def _ids(configurations: Iterable[RankedConfiguration]) -> tuple[str, ...]:
    found = (entry.configuration_id for entry in configurations)
    return tuple(dict.fromkeys(one for one in found if one is not None))
