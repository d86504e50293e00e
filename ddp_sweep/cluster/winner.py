"""The file ``_winner.yaml``: what is recommended, for people and scripts to take."""

from __future__ import annotations

import io
import os
from typing import Any

from ruamel.yaml import YAML

from ddp_sweep.analysis import Ranking
from ddp_sweep.analysis.settings import ready_to_paste
from ddp_sweep.errors import ResultsError
from ddp_sweep.results import ResultsFolder

__all__ = ["write_winner"]


def write_winner(folder: ResultsFolder, ranking: Ranking | None) -> None:
    """Write the recommendation, or take an outdated one away where there is none.

    Raises:
        ResultsError: The folder cannot be written to.
    """
    try:
        if ranking is None or ranking.recommendation.fastest is None:
            folder.winner_file.unlink(missing_ok=True)
        else:
            _write(folder, ranking)
    except OSError as error:
        raise ResultsError(
            f"cannot write {folder.winner_file}: {error.strerror or error}; every trial is kept, "
            "and the same command writes the file once there is room"
        ) from error


def _write(folder: ResultsFolder, ranking: Ranking) -> None:
    text, yaml = io.StringIO(), YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(_contents(ranking), text)
    partial = folder.winner_file.with_name(f"{folder.winner_file.name}.{os.getpid()}")
    partial.write_text(text.getvalue(), encoding="utf-8")
    partial.replace(folder.winner_file)


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
        "settings": ready_to_paste(winner),
        "parameters": dict(winner.parameters),
    }
