"""Stopping: a signal is heard wherever it falls."""

import subprocess
import sys

INTERRUPTED_WAIT = """
import os, signal
from proxy.stopping import stop_on_signals

stop = stop_on_signals()
with stop._cond:  # as in the instant in which stop.wait() begins
    os.kill(os.getpid(), signal.SIGTERM)
assert stop.wait(10)
"""


def test_a_signal_that_interrupts_the_very_wait_for_it_is_heard() -> None:
    waiting = subprocess.run([sys.executable, "-c", INTERRUPTED_WAIT], timeout=30)

    assert waiting.returncode == 0
