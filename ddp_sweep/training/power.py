"""What a trial costs in energy, and whether the clocks of what it ran on were lowered.

Of a GPU by NVIDIA's management library, where the extra ``ddp-sweep[gpu]`` is installed; of a CPU
Linux counts the times that heat lowered a core's clock. Nothing is read while the clock runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ddp_sweep.schema import CLOCKS_THROTTLED
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.states import State

__all__ = ["PowerMeter", "PowerReading", "read_cpu", "read_gpu", "throttling_detail"]

_MILLIJOULES_PER_WH = 3_600_000
_CPU_FOLDER = Path("/sys/devices/system/cpu")
_UNKNOWN = -1.0
"""Stands for None where ranks put their figures together."""
_REASONS = {
    "heat": (0x20, 0x40),  # software thermal slowdown, hardware thermal slowdown
    "hardware": (0x08,),  # hardware slowdown: heat or the supply of power
    "power brake": (0x80,),  # asked for from outside
}
"""Bits of NVML's clock event reasons that mean a GPU is slower than it should be. The power cap
(0x04) is not among them: under load most GPUs run at theirs."""


@dataclass(frozen=True, kw_only=True)
class PowerReading:
    """Counters of one device at one moment; None where it has none."""

    energy_mj: int | None = None
    """Millijoules since the driver was loaded."""
    throttled_ns: int | None = None
    """Time in which heat kept the clock down, of the GPU or of a core on the mean."""
    throttled_times: int | None = None
    """How often heat lowered the clock of a core."""
    reasons: int = 0
    """NVML's clock event reasons of this moment."""


class PowerMeter:
    """Measures from :meth:`start` until :meth:`stop`.

    Args:
        device: What the rank computes on.
        read: Reads the counters; another one in tests.
    """

    def __init__(
        self,
        device: torch.device,
        read: Callable[[torch.device], PowerReading] | None = None,
    ) -> None:
        self._device = device
        self._read = read or _read
        self._earlier_wh: float | None = 0.0
        self._before = self._after = PowerReading()

    def start(self) -> None:
        """Read the counters."""
        self._before = self._read(self._device)

    def stop(self) -> None:
        """Read the counters again; may be done several times."""
        self._after = self._read(self._device)

    @property
    def energy_wh(self) -> float | None:
        """Energy of the device in between, whoever used it; None where it cannot be read.

        With that of the attempts which the training goes on from.
        """
        used_mj = _difference(self._before.energy_mj, self._after.energy_mj)
        if used_mj is None or self._earlier_wh is None:
            return None
        return self._earlier_wh + used_mj / _MILLIJOULES_PER_WH

    def state_dict(self) -> State:
        """The energy so far; reads the counters, and so is to be asked for off the clock."""
        self.stop()
        return {"energy_wh": self.energy_wh}

    def load_state_dict(self, state: State) -> None:
        """Add to what another meter has measured, maybe of another device."""
        self._earlier_wh = state["energy_wh"]

    def detail(self, ranks: Ranks) -> str | None:
        """What lowered the clocks of any rank's device; the same on every rank, which all ask.

        None where nothing did, or nobody knows.
        """
        before, after = self._before, self._after
        taken_ns = _difference(before.throttled_ns, after.throttled_ns)
        times = _difference(before.throttled_times, after.throttled_times)
        seen = before.reasons | after.reasons
        figures = [
            _UNKNOWN if taken_ns is None else taken_ns / 1e9,
            _UNKNOWN if times is None else float(times),
            *(float(any(seen & bit for bit in bits)) for bits in _REASONS.values()),
        ]
        own = torch.tensor(figures, dtype=torch.float64, device=ranks.device)
        seconds, events, *flags = ranks.max_(own).tolist()
        return throttling_detail(
            seconds=None if seconds < 0 else seconds,
            times=None if events < 0 else round(events),
            reasons=[name for name, flag in zip(_REASONS, flags, strict=True) if flag],
        )


def throttling_detail(
    *, seconds: float | None, times: int | None, reasons: list[str]
) -> str | None:
    """A status detail that says how far clocks were lowered; None where they were not.

    >>> throttling_detail(seconds=1.5, times=None, reasons=["heat"])
    'clocks throttled: {"seconds": 1.5, "times": null, "reasons": ["heat"]}'
    >>> throttling_detail(seconds=0.0, times=None, reasons=[])
    """
    if not (seconds or times or reasons):
        return None
    known = {"seconds": seconds, "times": times, "reasons": reasons}
    return CLOCKS_THROTTLED + json.dumps(known)


def _read(device: torch.device) -> PowerReading:
    if device.type != "cuda":
        return read_cpu()
    library = _nvml()
    if library is None:
        return PowerReading()
    uuid = str(torch.cuda.get_device_properties(device).uuid)
    return read_gpu(library, uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")


def _nvml() -> ModuleType | None:
    """The library, begun; None where it or the driver is missing."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    module: ModuleType = pynvml
    return module


def read_gpu(library: Any, uuid: str) -> PowerReading:  # noqa: ANN401 - a module without types
    """Counters of a GPU; each that the GPU or its driver lacks is None.

    Args:
        library: The module ``pynvml``, begun.
        uuid: Of the GPU, as NVML writes it: ``GPU-...``.
    """
    try:
        handle = library.nvmlDeviceGetHandleByUUID(uuid)
    except library.NVMLError:
        return PowerReading()

    def ask(question: Callable[[], Any]) -> Any:  # noqa: ANN401
        try:
            return question()
        except (library.NVMLError, AttributeError):  # an older library lacks the function
            return None

    violation = ask(
        lambda: library.nvmlDeviceGetViolationStatus(handle, library.NVML_PERF_POLICY_THERMAL)
    )
    reasons = ask(lambda: library.nvmlDeviceGetCurrentClocksEventReasons(handle))
    if reasons is None:
        reasons = ask(lambda: library.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
    return PowerReading(
        energy_mj=ask(lambda: library.nvmlDeviceGetTotalEnergyConsumption(handle)),
        throttled_ns=None if violation is None else int(violation.violationTime),
        reasons=reasons or 0,
    )


def read_cpu(folder: Path = _CPU_FOLDER) -> PowerReading:
    """Linux's counters of how heat lowered the clocks of this host's cores.

    Args:
        folder: Where the kernel shows its processors; virtual machines have no such counters.
    """
    counts = [_number(file) for file in folder.glob("cpu*/thermal_throttle/*_throttle_count")]
    times_ms = [
        _number(file) for file in folder.glob("cpu*/thermal_throttle/*_throttle_total_time_ms")
    ]
    known, known_ms = ([n for n in found if n is not None] for found in (counts, times_ms))
    return PowerReading(
        throttled_times=sum(known) if known else None,
        # A mean over the cores: as long as this was every one of them slowed down.
        throttled_ns=None if not known_ms else sum(known_ms) * 1_000_000 // len(known_ms),
    )


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _difference(before: int | None, after: int | None) -> int | None:
    """None also where a counter has begun anew in between."""
    if before is None or after is None or after < before:
        return None
    return after - before
