"""Energy and lowered clocks, with a library that answers as NVIDIA's does."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ddp_processes import RankProcesses
from trial_runs import group_ranks
from trials_frame import Cell, frame, rows

from ddp_sweep.analysis import rank
from ddp_sweep.schema import CLOCKS_THROTTLED
from ddp_sweep.training import power
from ddp_sweep.training.power import (
    PowerMeter,
    PowerReading,
    read_cpu,
    read_gpu,
    throttling_detail,
)
from ddp_sweep.training.ranks import Ranks

GPU = torch.device("cuda", 0)
ALONE = Ranks(0, 1, torch.device("cpu"))
UUID = "GPU-12345678-1234-1234-1234-123456789abc"


class FakeNvml:
    """The functions of ``pynvml`` that are used, with counters of one GPU.

    Energy in millijoules and violations in nanoseconds, as NVML has them.
    """

    NVML_PERF_POLICY_THERMAL = 1

    class NVMLError(Exception):
        pass

    def __init__(self, **missing: bool) -> None:
        self.energy_mj, self.heat_ns, self.reasons = 5_000_000, 0, 0x1
        self.missing = missing
        self.begun = False

    def nvmlInit(self) -> None:  # noqa: N802
        if self.missing.get("driver"):
            raise self.NVMLError("Driver Not Loaded")
        self.begun = True

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid != UUID:
            raise self.NVMLError("Not Found")
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        assert handle == "handle"
        if self.missing.get("energy"):
            raise self.NVMLError("Not Supported")
        return self.energy_mj

    def nvmlDeviceGetViolationStatus(self, handle: str, policy: int) -> SimpleNamespace:  # noqa: N802
        assert (handle, policy) == ("handle", 1)
        if self.missing.get("violations"):
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(referenceTime=0, violationTime=self.heat_ns)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:  # noqa: N802
        # The older name; the newer one is missing, as in older libraries.
        assert handle == "handle"
        return self.reasons


def meter(library: FakeNvml) -> PowerMeter:
    started = PowerMeter(GPU, lambda _device: read_gpu(library, UUID))
    started.start()
    return started


def found(detail: str | None) -> dict[str, Any]:
    assert detail is not None
    known: dict[str, Any] = json.loads(detail.removeprefix(CLOCKS_THROTTLED))
    return known


def test_energy_is_what_the_counter_grew_by_in_watt_hours() -> None:
    library = FakeNvml()
    measured = meter(library)
    # 300 W for two minutes are 10 Wh.
    library.energy_mj += 300 * 1000 * 120
    measured.stop()
    assert measured.energy_wh == pytest.approx(10.0)
    assert measured.detail(ALONE) is None


@pytest.mark.parametrize("lacking", [0, 1, None])
def test_energy_is_that_of_all_attempts_that_a_training_went_through(lacking: int | None) -> None:
    earlier, later = (FakeNvml(energy=lacking == attempt) for attempt in range(2))
    first = meter(earlier)
    earlier.energy_mj += 3_600_000
    kept = first.state_dict()
    # What was used for steps that were lost does not count, as their time does not.
    earlier.energy_mj += 3_600_000

    # On another GPU, whose counter stands elsewhere.
    later.energy_mj = 900_000
    second = PowerMeter(GPU, lambda _device: read_gpu(later, UUID))
    second.load_state_dict(kept)
    later.energy_mj += 5_000_000
    second.start()
    later.energy_mj += 7_200_000
    second.stop()
    wanted = None if lacking is not None else pytest.approx(3.0)
    assert second.energy_wh == wanted


def test_heat_is_told_with_its_time() -> None:
    library = FakeNvml()
    library.heat_ns = 7_000_000_000
    measured = meter(library)
    library.heat_ns += 1_500_000_000
    measured.stop()
    assert found(measured.detail(ALONE)) == {"seconds": 1.5, "times": None, "reasons": []}


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (0x0, None),
        (0x1, None),  # idle
        (0x4, None),  # at the power cap, where most GPUs are under load
        (0x20, ["heat"]),
        (0x48, ["heat", "hardware"]),
        (0x80, ["power brake"]),
    ],
)
def test_reasons_count_that_mean_too_slow(reasons: int, told: list[str] | None) -> None:
    library = FakeNvml(violations=True)
    measured = meter(library)
    library.reasons = reasons
    measured.stop()
    detail = measured.detail(ALONE)
    assert (None if detail is None else found(detail)["reasons"]) == told


def test_what_a_gpu_lacks_is_unknown_and_never_zero() -> None:
    measured = meter(FakeNvml(energy=True, violations=True))
    measured.stop()
    assert measured.energy_wh is None
    assert measured.detail(ALONE) is None
    assert read_gpu(FakeNvml(), "GPU-other") == PowerReading()


def test_a_counter_that_began_anew_gives_nothing() -> None:
    library = FakeNvml()
    measured = meter(library)
    library.energy_mj = 3
    measured.stop()
    assert measured.energy_wh is None


@pytest.mark.parametrize("driver", [True, False])
def test_the_gpu_of_the_device_is_asked_and_a_missing_driver_is_no_error(
    monkeypatch: pytest.MonkeyPatch, driver: bool
) -> None:
    library = FakeNvml(driver=not driver)
    monkeypatch.setitem(__import__("sys").modules, "pynvml", library)
    properties = SimpleNamespace(uuid=UUID.removeprefix("GPU-"))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
    read = power._read(GPU)
    assert read.energy_mj == (5_000_000 if driver else None)
    assert library.begun is driver


def test_without_the_library_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert power._read(GPU) == PowerReading()


def write_counters(folder: Path, core: int, *, count: int, time_ms: int | None) -> None:
    place = folder / f"cpu{core}" / "thermal_throttle"
    place.mkdir(parents=True, exist_ok=True)
    (place / "core_throttle_count").write_text(f"{count}\n")
    if time_ms is not None:
        (place / "core_throttle_total_time_ms").write_text(f"{time_ms}\n")


def test_a_cpu_is_read_from_the_counters_of_its_cores(tmp_path: Path) -> None:
    for core in (0, 1):
        write_counters(tmp_path, core, count=10, time_ms=500)
    measured = PowerMeter(torch.device("cpu"), lambda _device: read_cpu(tmp_path))
    measured.start()
    write_counters(tmp_path, 0, count=13, time_ms=900)
    write_counters(tmp_path, 1, count=10, time_ms=700)
    measured.stop()
    # 0.4 and 0.2 s; the package has no energy counter that everybody may read.
    assert found(measured.detail(ALONE)) == {"seconds": 0.3, "times": 3, "reasons": []}
    assert measured.energy_wh is None


def test_a_cpu_without_counters_or_with_fewer_tells_what_it_has(tmp_path: Path) -> None:
    assert read_cpu(tmp_path) == PowerReading()
    write_counters(tmp_path, 0, count=2, time_ms=None)
    assert read_cpu(tmp_path) == PowerReading(throttled_times=2)
    (tmp_path / "cpu0" / "thermal_throttle" / "core_throttle_count").write_text("?")
    assert read_cpu(tmp_path) == PowerReading()


def detail_of(rank: int) -> str | None:
    ranks = group_ranks(rank, 2)
    if ranks is None:
        return None
    library = FakeNvml()
    measured = meter(library)
    if rank == 1:
        library.heat_ns, library.reasons = 2_000_000_000, 0x40
    measured.stop()
    return measured.detail(ranks)


@pytest.mark.ddp
def test_one_hot_rank_is_told_by_all(pool: RankProcesses) -> None:
    first, second, outside = pool.run(detail_of)
    assert first == second == throttling_detail(seconds=2.0, times=None, reasons=["heat"])
    assert outside is None


def test_the_finding_names_how_many_runs_and_for_how_long() -> None:
    plain = [Cell(world_size=1, batch=64, seconds=10), Cell(world_size=2, batch=32, seconds=5.5)]
    records = rows(plain, 5)
    for record, (seconds, reasons) in zip(
        records, [(4.0, []), (0.001, []), (None, ["heat"])], strict=False
    ):
        record["status_detail"] = throttling_detail(seconds=seconds, times=None, reasons=reasons)
    noisy = [
        one
        for one in rank(frame(records), margins={"accuracy": 0.01}).findings
        if one.kind == "noisy_measurement" and one.evidence["sign"] == "clocks"
    ]
    (finding,) = noisy
    assert finding.evidence["runs"] == 2
    assert "in 2 of 10 runs" in finding.message
    assert "(heat)" in finding.message
