"""Runs a script for sbatch where neither Slurm nor Ray is: each program is a few lines.

``srun`` starts its command right here, ``ray start`` and the sweep do nothing but wait. A long
sleep of the script ends once the sweep has got its first signal, so that no test waits for it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Slurm"]

_PROGRAMS = {
    "srun": """echo "$*" >> srun.log
while [[ $1 == --* ]]; do shift; done
exec "$@"
""",
    "scontrol": """if [[ $1 == show ]]; then echo alpha; else echo "$*" >> scontrol.log; fi
""",
    "ip": "echo 2: ib0 inet 127.0.0.1/8 scope global ib0\n",
    "ray": """if [[ $1 == start ]]; then exec /bin/sleep 600; fi
touch asked
while [[ -e ray-is-slow ]]; do /bin/sleep 0.05; done
""",
    "python": """case "$*" in
    -c*) echo token ;;
    -m*checks*) ;;
    -m*) exec PYTHON ./run.py ;;
    *) cat > /dev/null ;;
esac
""",
    # Whoever asked may be gone before this begins: then nothing tells it to end.
    "sleep": """asker=$PPID
while (($1 > 60 && asker > 1 && SECONDS < 60)) && [[ ! -e first-signal && -d /proc/$asker ]]; do
    /bin/sleep 0.05
done
/bin/sleep 0.05
""",
}
_RUN = """
import signal, sys, time
from pathlib import Path

drains_in_time = Path("drains-in-time").exists()

def on_interrupt(*_):
    if drains_in_time or Path("first-signal").exists():
        sys.exit(130)
    Path("first-signal").touch()

at_start = signal.getsignal(signal.SIGINT)
Path("sigint").write_text("ignored" if at_start == signal.SIG_IGN else "heeded")
signal.signal(signal.SIGINT, on_interrupt)
Path("running").touch()
while True:
    time.sleep(0.05)
"""
_DEADLINE_S = 60.0


class Slurm:
    """A folder in which a script runs, and what the programs have left there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        for name, text in _PROGRAMS.items():
            program = folder / "bin" / name
            program.write_text(f"#!/bin/bash\n{text.replace('PYTHON', sys.executable)}")
            program.chmod(0o755)
        self.write("run.py", _RUN)

    def write(self, name: str, text: str = "") -> None:
        """Make a file that the programs look for."""
        (self.folder / name).write_text(text, encoding="utf-8")

    def read(self, name: str) -> str:
        """A file, or nothing where there is none."""
        file = self.folder / name
        return file.read_text(encoding="utf-8") if file.exists() else ""

    @contextmanager
    def running(self, script: Path) -> Iterator[subprocess.Popen[str]]:
        """Run a script as job 7, on a node of 64 CPUs."""
        process = subprocess.Popen(
            ["bash", script],
            cwd=self.folder,
            env={
                "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
                "SLURM_JOB_ID": "7",
                "SLURM_JOB_NODELIST": "alpha",
                "SLURM_CPUS_ON_NODE": "64",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # As under Slurm, whatever started these tests was told to pass over.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()

    def wait_for(self, name: str, process: subprocess.Popen[str]) -> None:
        """Wait until a program has left a file."""
        give_up_at = time.monotonic() + _DEADLINE_S
        while not (self.folder / name).exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < give_up_at, f"no {name}"
            time.sleep(0.02)
