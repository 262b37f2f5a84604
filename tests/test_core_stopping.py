"""SIGTERM: what a command does with it."""

import os
import signal
import subprocess
import sys
import time

from gradleak.stopping import EXIT_CODE, never, stop_on_sigterm


def test_within_the_block_sigterm_is_noted_and_does_nothing_else():
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_sigterm() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked()
    assert signal.getsignal(signal.SIGTERM) == before
    assert not never()


def test_a_command_that_cannot_save_removes_what_it_was_writing(tmp_path):
    program = """
import sys, time
from pathlib import Path
from gradleak.files import atomic
from gradleak.stopping import exit_on_sigterm
exit_on_sigterm()
with atomic(Path(sys.argv[1]) / "result.txt"):
    print("writing", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    assert list(tmp_path.iterdir())
    started = time.monotonic()
    process.terminate()
    assert process.wait(timeout=30) == EXIT_CODE == 143
    assert time.monotonic() - started < 30
    assert not list(tmp_path.iterdir())
