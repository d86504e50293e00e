"""What a try-out found, as plain data, and the speeds of try-outs kept for predictions."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from ddp_sweep.plan import Trial
from ddp_sweep.plan.configuration import digest
from ddp_sweep.plan.estimate import MeasuredSpeed
from ddp_sweep.results.whole_files import write_whole
from ddp_sweep.training.messages import RankReport

__all__ = ["SpeedMemory", "TensorFacts", "Tryout"]


_EVERY_TRIAL = ("probes", "warm_up", "report")
"""Parts of a trial that take as long in a warm process; the others are mostly first imports."""


@dataclass(frozen=True, kw_only=True)
class TensorFacts:
    """A tensor as one would describe it."""

    name: str
    """``model input``, ``model output["logits"]``, ``targets``."""
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Tryout:
    """What a few steps and an evaluation of one worker showed."""

    trial: Trial
    """As it was run: one worker, a few steps."""
    planned: Trial
    """The trial of the sweep it stands for."""
    cells: int
    """Configurations of the sweep that can run."""
    task: str
    train_samples: int
    validation_samples: int
    tensors: tuple[TensorFacts, ...]
    """Of one training batch; empty where they could not be seen."""
    parameters: int
    trainable_parameters: int
    report: RankReport
    described: Mapping[str, str]
    """What the workload says of itself, by label."""
    seconds: float
    """The whole try-out."""
    warnings: tuple[str, ...]
    """What Python and the workload warned of, and margins that are too fine."""

    @property
    def losses(self) -> tuple[float, ...]:
        """Training loss of each step."""
        steps = self.report.steps
        return () if steps is None else tuple(float(loss) for loss in steps.train_loss)

    @property
    def speed(self) -> MeasuredSpeed | None:
        """For predictions; None where the try-out did not get to its end."""
        report = self.report
        step_s, evaluated = report.step_time_median_s, report.eval_samples
        if step_s is None or not evaluated or report.eval_time_s is None:
            return None
        return MeasuredSpeed(
            per_worker_batch_size=self.trial.per_worker_batch_size,
            training_s_per_sample=step_s / self.trial.global_batch_size,
            evaluation_s_per_sample=report.eval_time_s / evaluated,
            setup_s=sum(report.seconds.get(part, 0.0) for part in _EVERY_TRIAL),
        )


@dataclass(frozen=True)
class SpeedMemory:
    """Speeds that try-outs measured on this machine.

    They are kept in the user's cache and not in a results folder: a try-out comes before there is
    one, and its figures hold for this machine, this code and these options, whatever a sweep is
    called or where its results go. A file holds the speeds at all batch sizes tried.

    Attributes:
        code: Version of the workload's source.
        folder: Where the files lie.
    """

    code: str
    folder: Path

    @classmethod
    def of_this_user(cls, code: str) -> SpeedMemory:
        """The one in the user's cache folder.

        Args:
            code: ``commit:hash`` of the workload's source; only the hash counts.
        """
        return cls(code.rpartition(":")[2], user_cache_path("ddp-sweep") / "tried")

    def keep(self, trial: Trial, speed: MeasuredSpeed) -> None:
        """Add or replace the speed at a batch size; a folder that can't be written is no fault."""
        size = speed.per_worker_batch_size
        speeds = [one for one in self.recall(trial) if one.per_worker_batch_size != size]
        file = self._file(trial)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps([asdict(one) for one in [*speeds, speed]], indent=1)
            write_whole(file, text, durable=False)
        except OSError:
            return

    def recall(self, trial: Trial) -> tuple[MeasuredSpeed, ...]:
        """What is known of trials that differ from this one in no more than sizes and seed."""
        try:
            entries: Any = json.loads(self._file(trial).read_text())
            return tuple(MeasuredSpeed(**entry) for entry in entries)
        except (OSError, TypeError, ValueError):
            return ()

    def _file(self, trial: Trial) -> Path:
        parameters: Mapping[str, Any] = trial.parameters
        options = {k: v for k, v in parameters.items() if k.startswith("workload_options.")}
        names = ("workload", "precision", "compile", "device", "cpus_per_worker", "data")
        key = {
            **options,
            **{name: parameters.get(name) for name in names},
            "code": self.code,
            "host": socket.gethostname(),
        }
        return self.folder / f"{digest(key)}.json"
