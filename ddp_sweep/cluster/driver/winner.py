"""The file ``_winner.yaml``: what is recommended, for people and scripts to take."""

from __future__ import annotations

from typing import Any

from ddp_sweep.analysis import Ranking, RecommendationStatus
from ddp_sweep.analysis.settings import ready_to_paste, sweep_file_settings
from ddp_sweep.results import ResultsFolder
from ddp_sweep.results.whole_files import write_whole, writing, yaml_text

__all__ = ["write_winner"]


def write_winner(folder: ResultsFolder, ranking: Ranking | None) -> None:
    """Write the recommendation, or take an outdated one away where there is none.

    Raises:
        WriteError: The folder cannot be written to.
    """
    with writing(folder.winner_file):
        if ranking is None or ranking.recommendation.status is RecommendationStatus.NONE:
            folder.winner_file.unlink(missing_ok=True)
        else:
            write_whole(folder.winner_file, yaml_text(_contents(ranking)))


def _contents(ranking: Ranking) -> dict[str, Any]:
    chosen = ranking.recommendation
    winner = chosen.fastest
    assert winner is not None
    return {
        "configuration": winner.name,
        "configuration_id": winner.configuration_id,
        "status": chosen.status.value,
        "reason": chosen.reason,
        "speedup": winner.speedup,
        "speedup_low": winner.speedup_low,
        "speedup_high": winner.speedup_high,
        "baseline": ranking.baseline.name,
        "num_nodes": winner.num_nodes,
        "settings": ready_to_paste(winner),
        "unscaled_learning_rate": winner.parameters.get("learning_rate"),
        "sweep_file": sweep_file_settings(winner),
        "parameters": dict(winner.parameters),
    }
