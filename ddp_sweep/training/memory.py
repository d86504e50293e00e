"""Peak memory of a trial: device memory on a GPU, resident memory on a CPU."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

__all__ = [
    "PeakMemory",
    "available_memory_bytes",
    "is_out_of_memory",
    "memory_bytes",
    "peak_memory_bytes",
    "reset_peak_memory",
]

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


_OUT_OF_MEMORY = (
    "can't allocate",  # PyTorch's allocator on a CPU
    "CUDA error: out of memory",  # of the driver, past PyTorch's allocator
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "Failed to CUDA calloc",  # of NCCL
)
"""In the message of a RuntimeError that is one of memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device, or the host, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OUT_OF_MEMORY)


def reset_peak_memory(device: torch.device) -> None:
    """Let the peak start again from what is held now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR_REFS.exists():
        # The kernel's peak (VmHWM) never falls by itself; 5 resets it (man 5 proc).
        _CLEAR_REFS.write_text("5")


def peak_memory_bytes(device: torch.device) -> int | None:
    """Largest memory held since the last reset; None where it cannot be read."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if not _CLEAR_REFS.exists():
        return None
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def memory_bytes(device: torch.device) -> int:
    """Memory held now."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return int(psutil.Process().memory_info().rss)


def available_memory_bytes(device: torch.device) -> int:
    """Memory the worker's device has; on a CPU that of the host."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


class PeakMemory:
    """Largest memory that a trial held, without the copies that measuring it makes.

    Begins to look when it is made; :meth:`note` and :meth:`resume` bound what does not count.

    Args:
        device: Whose memory.
    """

    def __init__(self, device: torch.device) -> None:
        self.largest_bytes: int | None = None
        """Of what was noted; None where nothing can be read."""
        self._device = device
        reset_peak_memory(device)

    def note(self) -> None:
        """Take what was held since the last :meth:`resume` into account."""
        peak = peak_memory_bytes(self._device)
        known = (self.largest_bytes, peak)
        self.largest_bytes = max((p for p in known if p is not None), default=None)

    def resume(self) -> None:
        """Forget what was held since the last :meth:`note`."""
        reset_peak_memory(self._device)
