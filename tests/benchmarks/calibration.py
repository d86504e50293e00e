"""How often the verdicts of `rank` are right, on simulated sweeps whose truth is known.

    python tests/benchmarks/calibration.py [--repetitions 40000] [--only losses,speedups,...]

Every figure comes from `ddp_sweep.analysis.rank_many`, the code that `rank` runs. Each line shows
the figure, the bound it must keep, and whether it does; lines without a bound are for information.
A standard deviation is that of one seed. Skewed values are lognormal (skewness 1.75) with the tail
on the worse side.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
from simulation import PAIRINGS, Floats, Report, averaged, noise, trials

from ddp_sweep.analysis import Verdict, rank_many
from ddp_sweep.results import SeedAddition, SeedPurpose

SPREAD_OF_TIME = 0.02
HELD, LOST = Verdict.NON_INFERIOR.value, Verdict.INFERIOR.value

# Losses and speedups: the same simulated sweeps tell both

TESTED = {"accuracy": 1.0, "balanced_accuracy": 1.0, "mcc": 2.0, "average_precision": 3.0}
"""Margins in standard deviations; the first is lost exactly, of the others nothing."""


def losses_and_speedups(report: Report, repetitions: int) -> None:
    """Wrong passes, power and coverage."""
    for skewed, (pairing, correlation) in itertools.product([False, True], PAIRINGS.items()):
        kind = "skewed" if skewed else "normal"
        report.heading(f"One configuration against another: {kind}, {pairing}")
        for n in (3, 5, 10, 20):
            found = averaged(
                lambda count, generator, n=n, c=correlation, s=skewed: _one_against_another(
                    count, generator, n, c, s
                ),
                repetitions=repetitions,
                runs=3 * n,
            )
            bound = None if skewed else 0.055
            report.figure(
                f"n={n:2d} passes though it lost the margin", found["wrong"], None, bound
            )
            report.figure(f"n={n:2d}   the same with twice the spread", found["wrong, unequal"])
            for margin in (1, 2, 3):
                report.figure(f"n={n:2d} power, margin {margin} sd", found[f"power {margin}"])
            bounds = (0.88, 0.93) if not skewed else (0.88, None) if n >= 5 else (None, None)
            report.figure(f"n={n:2d} speedup interval covers", found["coverage"], *bounds)
            report.figure(f"n={n:2d}   with three times the spread", found["coverage, unequal"])


def _one_against_another(
    count: int, generator: np.random.Generator, n: int, correlation: float | None, skewed: bool
) -> dict[str, Any]:
    shape = (count, 3, n)
    z = noise(generator, shape, correlation=correlation, skewed=skewed)
    log_times = noise(generator, shape, correlation=correlation, skewed=skewed)
    quality = -z * np.array([1, 1, 2])[:, None]
    log_times *= SPREAD_OF_TIME * np.array([1, 1, 3])[:, None]
    values = dict.fromkeys(TESTED, quality)
    values["accuracy"] = quality - np.array([0, 1, 1])[:, None]
    speedups = np.array([1, 1.7, 2.6])
    values["train_time_s"] = 100 / speedups[:, None] * np.exp(log_times)
    found = rank_many(trials(values, paired=correlation is not None), margins=TESTED)
    equal, unequal = (found[found["world_size"] == size] for size in (2, 3))
    covered = [
        (one["speedup_low"] <= truth) & (truth <= one["speedup_high"])
        for one, truth in ((equal, speedups[1]), (unequal, speedups[2]))
    ]
    powers = dict(zip(("power 1", "power 2", "power 3"), list(TESTED)[1:], strict=True))
    return {
        "wrong": equal["accuracy_verdict"] == HELD,
        "wrong, unequal": unequal["accuracy_verdict"] == HELD,
        "coverage": covered[0],
        "coverage, unequal": covered[1],
        **{name: equal[f"{metric}_verdict"] == HELD for name, metric in powers.items()},
    }


# Beyond the validation set

SAMPLES = 360


def population(report: Report, repetitions: int) -> None:
    """Coverage of the interval that adds the sampling error of the validation set.

    Samples differ in difficulty, seeds in luck, and configurations in which samples they find
    hard: a true difference of 0 over all data that is none on the samples at hand. Logits of a
    right answer; a standard deviation each.
    """
    for of_seeds, of_samples in ((0.0, 0.0), (0.2, 0.0), (0.0, 1.0), (0.2, 1.5)):
        report.heading(
            f"New validation samples: {SAMPLES}, sd of seeds {of_seeds}, of samples {of_samples}"
        )
        for n in (3, 5, 10):
            found = averaged(
                lambda count, generator, n=n, s=(of_seeds, of_samples): _of_a_population(
                    count, generator, n, *s
                ),
                repetitions=repetitions // 4,
                runs=100 * n,
            )
            report.figure(f"n={n:2d} interval covers", found["covered"], 0.88, None)
            report.figure(f"n={n:2d}   that of this validation set does", found["covered, this"])


def _of_a_population(
    count: int, generator: np.random.Generator, n: int, of_seeds: float, of_samples: float
) -> dict[str, Any]:
    logits = generator.normal(4, 2.5, (count, 1, 1, SAMPLES))
    logits = logits + generator.normal(0, of_samples, (count, 2, 1, SAMPLES))
    logits = logits + generator.normal(0, of_seeds, (count, 2, n, 1))
    right = generator.logistic(size=logits.shape) < logits
    bits = np.packbits(right, axis=-1).reshape(count * 2 * n, -1)
    frame = _timed(right.mean(axis=-1)).assign(
        eval_samples=SAMPLES, correct_bits=[row.tobytes() for row in bits]
    )
    found = rank_many(frame, margins={"accuracy": 0.01})
    found = found[found["configuration_id"] == 1]
    low, high = found["accuracy_population_low"], found["accuracy_population_high"]
    return {
        "covered": (low <= 0) & (high >= 0),
        "covered, this": (found["accuracy_low"] <= 0) & (found["accuracy_high"] >= 0),
    }


# Recommendations

MARGIN = 1.25
"""Accuracy margin .01 where a seed has a standard deviation of .008."""


def recommendations(report: Report, repetitions: int) -> None:
    """Bad winners, provisional and confirmed, and what is left of the attainable speedup.

    Speedups are spread evenly over 1 to 8 on a log scale. The faster half loses 1 to 2 margins,
    the slower half nothing. Five seeds; ten to confirm.
    """
    for configurations in (4, 16, 60):
        found = averaged(
            lambda count, generator, m=configurations: _recommended(count, generator, m),
            repetitions=repetitions,
            runs=5 * configurations,
        )
        report.heading(f"Recommendations among {configurations} configurations, 5 seeds")
        report.figure("another one than the baseline is recommended", found["provisional"])
        report.figure("  of these lost more than the margin (provisional)", found["bad"])
        report.figure("  of these confirmed by 10 fresh seeds", found["confirmed"])
        report.figure("bad winners among the confirmed", found["bad confirmed"], None, 0.05)
        report.figure("bad winners confirmed, of all sweeps", found["bad of all"], None, 0.05)
        report.figure("attainable speedup kept, provisional", found["kept"])
        report.figure("attainable speedup kept, only what is confirmed", found["kept confirmed"])


def _recommended(count: int, generator: np.random.Generator, m: int) -> dict[str, Any]:
    log_speedup = np.sort(generator.uniform(0, np.log(8), (count, m)), axis=1)
    log_speedup[:, 0] = 0
    loss = MARGIN * generator.uniform(1, 2, (count, m)) * (np.arange(m) >= m / 2)

    def runs(n: int, **place: Any) -> pd.DataFrame:
        times = np.exp(-log_speedup[:, :, None] + generator.normal(0, 0.02, (count, m, n)))
        accuracy = generator.normal(size=(count, m, n)) - loss[:, :, None]
        return trials({"train_time_s": times, "accuracy": accuracy}, **place)

    first, margins = runs(5), {"accuracy": MARGIN}
    found = rank_many(first, margins=margins)
    chosen = np.zeros(count, dtype=np.int64)
    winners = found[found["winner"]]
    chosen[winners["sweep"]] = winners["configuration_id"]
    fresh = runs(10, first_seed=100, session="2")
    own = fresh["configuration_id"].to_numpy()
    fresh = fresh[(own == 0) | (own == chosen[fresh["sweep"].to_numpy()])]
    additions = (
        SeedAddition(purpose=SeedPurpose.SWEEP, seeds=tuple(range(5))),
        SeedAddition(purpose=SeedPurpose.CONFIRMATION, seeds=tuple(range(100, 110))),
    )
    again = rank_many(pd.concat([first, fresh]), margins=margins, additions=additions)
    sure = np.zeros(count, dtype=np.bool_)
    sure[again.loc[again["status"] == "confirmed", "sweep"]] = True
    row = np.arange(count)
    bad = loss[row, chosen] > MARGIN
    attainable = np.where(loss <= MARGIN, log_speedup, 0).max(axis=1)
    kept = np.exp(np.where(bad, 0, log_speedup[row, chosen]) - attainable)
    kept_sure = np.exp(np.where(sure & ~bad, log_speedup[row, chosen], 0) - attainable)
    return {
        "provisional": chosen > 0,
        "bad": bad[chosen > 0],
        "confirmed": sure[chosen > 0],
        "bad confirmed": bad[sure],
        "bad of all": bad & sure,
        "kept": kept,
        "kept confirmed": kept_sure,
    }


# Seeds needed, and looks


def seeds_needed(report: Report, repetitions: int) -> None:
    """Whether the seeds that are advised decide about as often as promised.

    Every pilot counts, as long as more than 3 seeds are advised; beside it those alone that the
    pilot left undecided: of these more had a spread that was large by chance. Where the margin is
    twice the spread of a difference or more, 3 or 4 seeds do, and there are no smaller steps.
    """
    report.heading("Seeds needed: pilot of 5, no true loss, fresh look with the advised number")
    for margin, (pairing, correlation) in itertools.product((0.5, 1.0, 2.0), PAIRINGS.items()):
        spread = np.sqrt(2 - 2 * (correlation or 0))
        found = averaged(
            lambda count, generator, m=margin, c=correlation: _advised(count, generator, m, c),
            repetitions=repetitions,
            runs=int(40 * max(1, (spread / margin) ** 2)),
        )
        bounds = (0.75, 0.9) if margin < 1.5 * spread else (None, None)
        label = f"margin {margin:g} sd, {pairing}: decided (advised {found['advised']:.1f})"
        report.figure(label, found["decided"], *bounds)
        report.figure("  after a pilot that left it undecided", found["undecided"])


def _advised(
    count: int, generator: np.random.Generator, margin: float, correlation: float | None
) -> dict[str, Any]:
    paired, margins = correlation is not None, {"accuracy": margin}

    def runs(n: int) -> Floats:
        return noise(generator, (count, 2, n), correlation=correlation, skewed=False)

    first = _timed(runs(5), paired=paired)
    pilot = rank_many(first, margins=margins)
    pilot = pilot[(pilot["configuration_id"] == 1) & (pilot["accuracy_seeds_needed"] > 3)]
    needed = np.zeros(count)
    needed[pilot["sweep"]] = pilot["accuracy_seeds_needed"]
    values = runs(int(needed.max()))
    unused = np.arange(values.shape[2]) >= needed[:, None, None]
    values[np.broadcast_to(unused, values.shape)] = np.nan
    fresh = _timed(values, paired=paired, first_seed=100, session="2")
    seeds = tuple(int(seed) for seed in fresh["seed"].unique())
    additions = (SeedAddition(purpose=SeedPurpose.MORE_SEEDS, seeds=seeds),)
    # A pilot that decided would stay decided; as if it had been lost, its fresh seeds are judged.
    pilot_runs = first[first["sweep"].isin(fresh["sweep"])].assign(status="interrupted")
    again = rank_many(pd.concat([pilot_runs, fresh]), margins=margins, additions=additions)
    again = again[again["configuration_id"] == 1]
    decisive = np.zeros(count, dtype=np.bool_)
    decisive[again["sweep"]] = again["verdict"].isin([HELD, LOST])
    of_pilots = decisive[pilot["sweep"]]
    return {
        "decided": of_pilots,
        "undecided": of_pilots[pilot["verdict"] == "inconclusive"],
        "advised": pilot["accuracy_seeds_needed"],
    }


def _timed(accuracy: Floats, **place: Any) -> pd.DataFrame:
    """Trials of a configuration that is twice as fast as the other."""
    times = np.broadcast_to(np.array([[1.0], [0.5]]), accuracy.shape)
    return trials({"accuracy": accuracy, "train_time_s": times}, **place)


def repeated_looks(report: Report, repetitions: int) -> None:
    """False passes where seeds are added until a configuration passes, up to four looks."""
    for n in (3, 5, 10):
        found = averaged(
            lambda count, generator, n=n: _looks(count, generator, n),
            repetitions=repetitions,
            runs=8 * n,
        )
        report.heading(f"Looks with {n} fresh seeds each, true loss = margin: passed so far")
        for look in (1, 2, 3, 4):
            report.figure(f"after look {look}", found[f"look {look}"], None, 0.10)
            report.figure("  had all seeds been tested again at .05", found[f"naive {look}"])


def _looks(count: int, generator: np.random.Generator, n: int) -> dict[str, Any]:
    accuracy = generator.normal(size=(count, 2, 4 * n)) - np.array([0, 1])[:, None]
    frame = _timed(accuracy)
    purposes = [SeedPurpose.SWEEP] + 3 * [SeedPurpose.MORE_SEEDS]
    additions = [
        SeedAddition(purpose=purpose, seeds=tuple(range(look * n, look * n + n)))
        for look, purpose in enumerate(purposes)
    ]
    passed = {"look": np.zeros(count, np.bool_), "naive": np.zeros(count, np.bool_)}
    shares = {}
    for look in (1, 2, 3, 4):
        so_far = frame[frame["seed"] < look * n]
        for name, known in (("look", additions[:look]), ("naive", [])):
            found = rank_many(so_far, margins={"accuracy": 1.0}, additions=known)
            found = found[found["configuration_id"] == 1].sort_values("sweep")
            passed[name] = passed[name] | (found["verdict"] == HELD).to_numpy()
            shares[f"{name} {look}"] = passed[name]
    return shares


SECTIONS = {
    "losses": losses_and_speedups,
    "population": population,
    "recommendations": recommendations,
    "seeds_needed": seeds_needed,
    "looks": repeated_looks,
}


def main() -> None:
    """Run the sections and print every figure beside its bound."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=40_000)
    parser.add_argument("--only", default=",".join(SECTIONS), help=", ".join(SECTIONS))
    arguments = parser.parse_args()
    report = Report()
    start = time.monotonic()
    for name in arguments.only.split(","):
        SECTIONS[name](report, arguments.repetitions)
    print(f"\n{report.missed} figures missed; {time.monotonic() - start:.0f} s")
    sys.exit(1 if report.missed else 0)


if __name__ == "__main__":
    main()
