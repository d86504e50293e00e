"""What a worker computes on."""

from __future__ import annotations

import torch

__all__ = ["device_name"]


def device_name(device: torch.device) -> str | None:
    """Name of a GPU, or of the processor; None where it cannot be read."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            names = [line.split(":", 1)[1].strip() for line in file if "model name" in line]
    except OSError:
        return None
    return names[0] if names else None
