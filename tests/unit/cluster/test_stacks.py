"""A process that hangs is made to say where; one that would die of the question is not asked."""

from __future__ import annotations

import subprocess
import sys
import time

from ddp_sweep.cluster.gang.last_words import STACKS_SIGNAL, print_stacks

HANGS = f"""
import ctypes, faulthandler
faulthandler.register({int(STACKS_SIGNAL)}, 2)

def stuck():
    ctypes.PyDLL(None).sleep(600)  # it holds on to the interpreter meanwhile

print("ready", flush=True)
stuck()
print("it went on", flush=True)
"""


def start(script: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_process_that_is_stuck_in_c_says_where() -> None:
    process = start(HANGS)
    # The signal also ends its sleep, once it has begun.
    while process.poll() is None:
        print_stacks([process.pid])
        time.sleep(0.2)
    out, err = process.communicate()
    assert (process.returncode, out) == (0, "it went on\n")
    assert "in stuck" in err


def test_a_process_without_a_handler_is_left_alone() -> None:
    process = start("print('ready', flush=True); print(input())")
    print_stacks([process.pid, 2**22 + 1])
    out, err = process.communicate("still here\n", timeout=60)
    assert (process.returncode, out, err) == (0, "still here\n", "")
