"""Many sweeps at once get what each would get alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from trials_frame import Cell, frame, rows

from ddp_sweep.analysis import rank, rank_many
from ddp_sweep.errors import TableError

MARGINS = {"accuracy": 0.01, "val_loss": 0.05}


def sweep(number: int) -> list[dict[str, Any]]:
    """Sweeps of different sizes, seeds, speeds and failures."""
    noise = np.random.default_rng(number)
    cells = [
        Cell(
            world_size=size,
            batch=batch,
            seconds=float(noise.uniform(3, 9)),
            accuracy=float(noise.uniform(0.935, 0.955)),
            columns={"traces_comparable": bool(number % 2)},
        )
        for size in (1, 2, 4)[: 2 + number % 2]
        for batch in (32, 64, 128)
    ]
    records = rows(cells, seeds=2 + number % 5)
    for record in records:
        record["sweep"] = f"sweep{number}"
        record["val_loss"] = float(noise.normal(0.15, 0.01))
        if noise.random() < 0.1:
            record.update(status="diverged", train_time_s=None, accuracy=None, val_loss=None)
        if noise.random() < 0.03:
            record.update(status="workload_error", train_time_s=None)
    return records


@pytest.mark.parametrize("options", [{}, {"baseline": {"world_size": 1}}])
def test_each_sweep_gets_what_it_would_get_alone(options: dict[str, Any]) -> None:
    sweeps = [sweep(number) for number in range(12)]
    together = rank_many(
        frame([record for one in sweeps for record in one]), margins=MARGINS, **options
    )

    for number, records in enumerate(sweeps):
        ranking = rank(frame(records), margins=MARGINS, **options)
        alone = ranking.to_frame()
        own = together[together["sweep"] == f"sweep{number}"].reset_index(drop=True)
        assert own["configuration_id"].tolist() == alone["configuration_id"].tolist()
        judged = own["verdict"].where(~own["baseline"], "baseline")
        assert judged.tolist() == alone["verdict"].tolist()
        assert own["evidence"].tolist() == alone["evidence"].tolist()
        for name in ("speedup", "speedup_low", "speedup_high", "accuracy_low", "val_loss_p_value"):
            np.testing.assert_allclose(own[name], alone[name].astype(float), rtol=1e-12)
        needed = alone["seeds_needed"].astype(float)
        np.testing.assert_array_equal(own["seeds_needed"], needed)
        fastest = ranking.recommendation.fastest
        chosen = own.loc[own["winner"], "configuration_id"].tolist()
        assert chosen == ([] if fastest is None else [fastest.configuration_id])


def test_a_table_that_is_not_ours_is_refused() -> None:
    with pytest.raises(TableError, match="lacks the columns sweep, trial_id"):
        rank_many(pd.DataFrame({"world_size": [1]}))
    with pytest.raises(TableError, match="lacks the columns study"):
        rank_many(frame(sweep(1)), by="study")
