"""Which seeds a sweep gets beside those of its file, and the record of them.

Every session that adds seeds after a look at the results is one more chance for luck to pass as
quality, so the analysis must know of each: it judges them on their fresh seeds alone.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from dataclasses import replace

from ruamel.yaml import YAML

from ddp_sweep.analysis import RankedConfiguration, Ranking, RecommendationStatus, Verdict
from ddp_sweep.errors import ResultsError
from ddp_sweep.plan import MoreSeeds
from ddp_sweep.results import ResultsFolder, SeedAddition, SeedPurpose
from ddp_sweep.spec import SweepSpec

__all__ = ["SeedBook", "confirmation", "fresh_seeds", "more_seeds", "planned"]


class SeedBook:
    """The seeds of one results folder, for the session that writes to it.

    Args:
        folder: Where the record lies.
        spec: The sweep file.
        known: What the record holds; empty in a new folder.
        session_id: Of this session.

    Raises:
        ResultsError: There is a record that could not be read.
    """

    def __init__(
        self,
        folder: ResultsFolder,
        spec: SweepSpec,
        known: tuple[SeedAddition, ...],
        session_id: str,
    ) -> None:
        if not known and folder.seeds_file.exists():
            raise ResultsError(
                f"{folder.seeds_file} cannot be read, so nobody knows which seeds were added; "
                "mend it from a backup, or give another folder with --output"
            )
        self.additions = known
        self._folder = folder
        self._spec = spec
        self._session_id = session_id
        if not known:
            self.add(SeedAddition(purpose=SeedPurpose.SWEEP, seeds=tuple(spec.seeds)))

    def fresh(self, count: int) -> tuple[int, ...]:
        """Seeds that the sweep has not had."""
        return fresh_seeds(self._spec, self.additions, count)

    def planned(self) -> tuple[MoreSeeds, ...]:
        """What a plan has to add to the seeds of the sweep file."""
        return planned(self.additions)

    def add(self, addition: SeedAddition) -> None:
        """Write an addition down; only then may its trials run."""
        self.additions = (*self.additions, replace(addition, session_id=self._session_id))
        try:
            _record(self._folder, self.additions)
        except OSError as error:
            raise ResultsError(
                f"cannot write {self._folder.seeds_file}: {error.strerror or error}; free the "
                "disk or choose another folder with --output"
            ) from error


def planned(additions: Iterable[SeedAddition]) -> tuple[MoreSeeds, ...]:
    """What a plan has to add to the seeds of the sweep file."""
    return tuple(
        MoreSeeds(
            seeds=addition.seeds,
            configuration_ids=(
                None
                if addition.configuration_ids is None
                else frozenset(addition.configuration_ids)
            ),
        )
        for addition in additions
        if addition.purpose is not SeedPurpose.SWEEP
    )


def _record(folder: ResultsFolder, additions: Iterable[SeedAddition]) -> None:
    """Write the whole list of added seeds, so that it appears whole or not at all."""
    entries = [
        {
            "purpose": addition.purpose.value,
            "seeds": list(addition.seeds),
            "configuration_ids": (
                None if addition.configuration_ids is None else list(addition.configuration_ids)
            ),
            "session_id": addition.session_id,
        }
        for addition in additions
    ]
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(entries, text)
    partial = folder.seeds_file.with_name(f"{folder.seeds_file.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text.getvalue())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder.seeds_file)


def fresh_seeds(spec: SweepSpec, additions: Iterable[SeedAddition], count: int) -> tuple[int, ...]:
    """The next whole numbers above every seed that the sweep has had.

    Examples:
        >>> from ddp_sweep.spec import parse_spec
        >>> sweep = {"world_size": [1], "global_batch_size": [8]}
        >>> training = {"epochs": 1, "learning_rate": 0.1}
        >>> spec = parse_spec(
        ...     {"name": "a", "workload": "a:b", "sweep": sweep, "seeds": 3, "training": training}
        ... )
        >>> fresh_seeds(spec, [], 2)
        (3, 4)
    """
    used = [*spec.seeds, *(seed for addition in additions for seed in addition.seeds)]
    first = max(used) + 1
    return tuple(range(first, first + count))


def more_seeds(
    ranking: Ranking, seeds: tuple[int, ...], *, undecided: bool
) -> SeedAddition | None:
    """Seeds to add after a look at the results; None where nothing is undecided.

    Args:
        ranking: What is known so far.
        seeds: The fresh seeds.
        undecided: Only for configurations whose quality is not yet known, and for the quality
            reference, without which their fresh seeds would have nothing to be compared with.
    """
    if not undecided:
        return SeedAddition(purpose=SeedPurpose.MORE_SEEDS, seeds=seeds)
    open_ = [e for e in ranking.configurations if e.verdict is Verdict.INCONCLUSIVE]
    if not open_:
        return None
    return SeedAddition(
        purpose=SeedPurpose.MORE_SEEDS,
        seeds=seeds,
        configuration_ids=_ids([ranking.reference, *open_]),
    )


def confirmation(
    ranking: Ranking, additions: Iterable[SeedAddition], seeds: tuple[int, ...]
) -> SeedAddition | None:
    """Seeds that measure the winner anew, with what its speed and quality are relative to.

    None where there is no winner, where it is the baseline itself, or where it has had its
    confirmation already.
    """
    chosen = ranking.recommendation
    winner = chosen.fastest
    if winner is None or chosen.status is not RecommendationStatus.PROVISIONAL:
        return None
    if winner.configuration_id == ranking.baseline.configuration_id:
        return None
    for addition in additions:
        covered = addition.configuration_ids or ()
        if addition.purpose is SeedPurpose.CONFIRMATION and winner.configuration_id in covered:
            return None
    return SeedAddition(
        purpose=SeedPurpose.CONFIRMATION,
        seeds=seeds,
        configuration_ids=_ids([winner, ranking.reference, ranking.baseline]),
    )


def _ids(configurations: Iterable[RankedConfiguration]) -> tuple[str, ...]:
    found = (entry.configuration_id for entry in configurations)
    return tuple(dict.fromkeys(one for one in found if one is not None))
