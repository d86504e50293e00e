"""What a worker computes on."""

from __future__ import annotations

from pathlib import Path

import torch

__all__ = ["device_name"]

_CPU_INFO = Path("/proc/cpuinfo")


def device_name(device: torch.device) -> str | None:
    """Model of the GPU or the processor; None where it cannot be read."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), None)
