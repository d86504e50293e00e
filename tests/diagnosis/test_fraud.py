"""The bundled sweep over rare positives: a paradox without the class weight, a winner with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sweep_of_trials import RunTrial, all_kinds, ranked

from ddp_sweep.analysis import Ranking, Verdict
from ddp_sweep.plan import build_plan
from ddp_sweep.spec import load_spec
from ddp_sweep.training.messages import TrialRequest

pytestmark = [pytest.mark.diagnosis, pytest.mark.ddp]

SWEEP = Path(__file__).parents[2] / "sweeps" / "fraud.yaml"
FLOOR = 0.8


def sweep(run: RunTrial, folder: Path, *, weighted: bool) -> tuple[Ranking, pd.DataFrame]:
    overrides = [] if weighted else ["workload_options.class_weight=1"]
    spec = load_spec(SWEEP, overrides)
    plan = build_plan(spec, capacity=None, train_lengths=18_000)
    wanted = [
        TrialRequest(trial=trial, attempt=1, data=spec.data, quality=spec.quality)
        for trial in plan.trials
    ]
    quality = spec.quality
    ranking = ranked(
        folder,
        spec.workload,
        wanted,
        run,
        margins=quality.margins,
        floors=quality.floors,
        reference_batch_size=spec.training.reference_batch_size,
    )
    return ranking, pd.read_parquet(folder / "trials")


def test_with_the_class_weight_a_configuration_qualifies(run: RunTrial, tmp_path: Path) -> None:
    ranking, trials = sweep(run, tmp_path, weighted=True)

    held = [
        entry
        for entry in ranking.configurations
        if entry.floors["recall[1]"].verdict is Verdict.NON_INFERIOR
    ]
    assert ranking.baseline in held
    assert "accuracy_paradox" not in all_kinds(ranking)
    for entry in held:
        own = trials[trials["configuration_id"] == entry.configuration_id]
        assert np.mean(own["recall"]) > FLOOR
        assert (own["train_val_overlap"] == 0).all()


def test_without_it_the_accuracy_hides_frauds_and_is_said_to(
    run: RunTrial, tmp_path: Path
) -> None:
    ranking, trials = sweep(run, tmp_path, weighted=False)

    for entry in ranking.configurations:
        own = trials[trials["configuration_id"] == entry.configuration_id]
        (found,) = [one for one in entry.findings if one.kind == "accuracy_paradox"]
        assert found.evidence["class"] == "fraud"
        assert found.evidence["recall"] == pytest.approx(own["recall"].mean())
        assert found.evidence["accuracy"] == pytest.approx(own["accuracy"].mean())
        assert found.evidence["recall"] < 0.5 < 0.95 < found.evidence["accuracy"]
