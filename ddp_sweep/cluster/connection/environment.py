"""Settings of Ray that are environment variables, and Ray's output."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["cluster_variables", "quiet_driver"]

_DRIVER_VARIABLES = {
    # We drain on Ctrl-C ourselves; Tune kills after 10 s.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Nobody reads Tune's own result files.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune writes its state, 14 kB a trial, whole each time.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # 15 otherwise, on a Ray that we start: its daemons would come before the training we time.
    "RAY_worker_niceness": "0",
    # Of a worker that is killed the processes that it had started would stay for ever.
    "RAY_process_group_cleanup_enabled": "1",
    # Ray's notice that it sends usage statistics would not be seen, so it must not send any.
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


def cluster_variables(*, start_timeout_s: float) -> dict[str, str]:
    """Variables for every process of a sweep on the cluster, by ``runtime_env``.

    Args:
        start_timeout_s: How long a group of workers may take to start.
    """
    return {
        # How fast a death is seen and a gang ends; trials do not wait for it.
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        # Later than our own deadline, which says what was waited for.
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(start_timeout_s + 30),
        # 30 s otherwise, in which a hung process group is waited for.
        "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "3",
        # Otherwise what a workload prints is printed once more, as a message of Ray's to stderr.
        "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
        # Each of these is work beside the trials that are timed, and we use none of it.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "RAY_TRAIN_METRICS_ENABLED": "0",
        # Paths in a sweep file start from its folder, in every process.
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
    }


@contextmanager
def quiet_driver() -> Iterator[None]:
    """Set Ray's variables of this process, and keep its output off the terminal, for a while."""
    with _variables(_DRIVER_VARIABLES), _log_level(logging.CRITICAL), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"ray\.")
        yield


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _log_level(level: int) -> Iterator[None]:
    logger = logging.getLogger("ray")
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
