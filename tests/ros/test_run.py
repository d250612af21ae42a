"""Ending a process on a signal, whatever its threads are doing: a small real node in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from harness import GUARD_S

NODE = """
import signal, sys, threading, time
import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from clip_rl_perception.ros import spin as running

class Small(Node):
    def __init__(self):
        super().__init__("small")
        self.begun = self.create_timer(0.0, self.on_begun)
    def on_begun(self):
        self.begun.cancel()
        {callback}
    def close(self):
        {close}

rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
running.END_LIMIT_S = {limit}
status = running.run(Small(), threads={threads})
print("closed", flush=True)
running.leave(status)
"""
SPINS = "print('spins', flush=True)"


def start(
    *, callback: str = SPINS, close: str = "pass", limit: float = GUARD_S, threads: int = 2
) -> subprocess.Popen[str]:
    script = NODE.format(callback=callback, close=close, limit=limit, threads=threads)
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, output, errors; a process that goes on past the guard is ended, and fails the test."""
    try:
        out, errors = process.communicate(timeout=GUARD_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, errors = process.communicate()
        pytest.fail(f"the process did not end:\n{out}\n{errors}")
    return process.returncode, out, errors


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process(number: signal.Signals, threads: int) -> None:
    process = start(threads=threads)
    assert process.stdout is not None and process.stdout.readline() == "spins\n"
    process.send_signal(number)
    status, out, errors = outcome(process)
    assert (status, out) == (0, "closed\n"), errors


def test_a_signal_that_another_thread_takes_ends_it_too() -> None:
    """The kernel may hand a process's signal to any thread; here the executor's takes it while the main one sleeps."""
    wait_for_sleep = "time.sleep(0.2); signal.pthread_kill(threading.get_ident(), signal.SIGTERM)"
    status, out, errors = outcome(start(callback=wait_for_sleep))
    assert (status, out) == (0, "closed\n"), errors


def test_an_ending_that_hangs_is_cut_off_and_says_where() -> None:
    process = start(close="time.sleep(1e6)", limit=5.0)
    assert process.stdout is not None and process.stdout.readline() == "spins\n"
    process.terminate()
    status, out, errors = outcome(process)
    assert status == 1 and "closed" not in out
    assert "Timeout" in errors and "in close" in errors, errors


@pytest.mark.parametrize("threads", [1, 2])
def test_a_crash_of_a_callback_ends_it_with_status_1(threads: int) -> None:
    # An executor with several threads sees what one of them raised when the next event comes: nodes have a timer.
    crash = "self.create_timer(0.05, lambda: None); raise RuntimeError('broken callback')"
    status, out, errors = outcome(start(callback=crash, threads=threads))
    assert (status, out) == (1, "closed\n"), errors
    assert "broken callback" in errors
