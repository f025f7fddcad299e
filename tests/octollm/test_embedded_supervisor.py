"""The supervisor starts again what ends, gives up in time, and stops within bounds.

It takes a process's signals and adopts orphans, so each test gives it a process.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.up import ROOT, alive, clean_environment, descendants
from tests.waiting import wait_until

_SCRIPT = """
import os, sys
from pathlib import Path
from octollm.embedded.errors import EmbeddedError
from octollm.embedded.services import Program
from octollm.embedded.supervisor import Bounds, Kind, StopRequestedError, Supervisor

bounds = Bounds(first_pause_s=0.01, programs_stop_s=0.5, max_deaths=3)
supervisor = Supervisor(lambda line: print(line, flush=True), bounds=bounds)
kind, *commands = sys.argv[1:]
try:
    with supervisor.in_charge():
        for number, command in enumerate(commands):
            program = Program(
                name=f"program-{number}",
                command=["/bin/sh", "-c", command],
                environment=os.environ,
                log=Path(f"program-{number}.log").absolute(),
            )
            supervisor.start(program, Kind(kind))
        print("started", flush=True)
        supervisor.watch()
except StopRequestedError:
    print("stopped")
except EmbeddedError as error:
    print("gave up:", error.message)
"""


def supervise(directory: Path, *commands: str, kind: str = "program") -> Supervised:
    return Supervised(
        [sys.executable, "-c", _SCRIPT, kind, *commands],
        cwd=directory,
        env={**clean_environment(), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


class Supervised(subprocess.Popen[str]):
    """A process that supervises."""

    def await_line(self, start: str) -> str:
        assert self.stdout
        for line in self.stdout:
            if line.startswith(start):
                return line
        raise AssertionError(f"it never said {start!r}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> str:
        self.send_signal(number)
        return self.communicate(timeout=10)[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_of_terminal_and_system_stop_everything(
    tmp_path: Path, number: signal.Signals
) -> None:
    with supervise(tmp_path, "exec sleep 60", "exec sleep 60") as supervisor:
        supervisor.await_line("started")
        children = descendants(supervisor.pid)

        said = supervisor.stop(number)

    assert len(children) == 2
    assert said == "stopped\n"
    assert not alive(children)


def test_program_that_ends_is_started_again(tmp_path: Path) -> None:
    with supervise(tmp_path, "echo run >> runs; exec sleep 60") as supervisor:
        (first,) = wait_until(lambda: descendants(supervisor.pid))
        wait_until((tmp_path / "runs").exists)

        subprocess.run(["/bin/kill", "-9", str(first)], check=True)

        assert supervisor.await_line("program-0 ended by SIGKILL")
        assert supervisor.await_line("program-0 is back")
        supervisor.stop()
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


def test_program_that_keeps_ending_is_given_up_with_its_last_words(
    tmp_path: Path,
) -> None:
    with supervise(tmp_path, "echo no such table; exit 7", "exec sleep 60") as given_up:
        said, _ = given_up.communicate(timeout=20)

    assert said.count("ended with exit code 7; starting it again") == 2
    assert "gave up: program-0 keeps ending, last with exit code 7" in said
    assert "no such table" in said


def test_what_a_dead_program_left_behind_is_killed(tmp_path: Path) -> None:
    # The grandchild is in a session of its own, as PostgreSQL's backends are.
    command = "setsid sleep 60 & sleep 60 & exec sleep 60"
    with supervise(tmp_path, command) as supervisor:
        wait_until(lambda: len(descendants(supervisor.pid)) == 3)
        left = descendants(supervisor.pid)
        first = min(left)

        subprocess.run(["/bin/kill", "-9", str(first)], check=True)

        wait_until(lambda: not alive(left), timeout_s=5)
        supervisor.stop()


def test_program_that_ignores_the_signal_is_killed_within_the_bound(
    tmp_path: Path,
) -> None:
    with supervise(tmp_path, "trap '' TERM; touch deaf; sleep 60; sleep 60") as deaf:
        wait_until((tmp_path / "deaf").exists)
        children = descendants(deaf.pid)
        began = time.monotonic()

        said = deaf.stop()

    assert said.endswith("stopped\n")
    assert 0.5 <= time.monotonic() - began < 5
    assert not alive(children)


def test_failed_errand_is_told_and_changes_nothing(tmp_path: Path) -> None:
    with supervise(tmp_path, "exit 3", kind="errand") as supervisor:
        assert supervisor.await_line("program-0 ended with exit code 3; the system")

        assert supervisor.stop() == "stopped\n"


def test_successful_errand_is_not_mentioned(tmp_path: Path) -> None:
    with supervise(tmp_path, "touch done", kind="errand") as supervisor:
        wait_until((tmp_path / "done").exists)
        wait_until(lambda: not descendants(supervisor.pid))

        assert "program-0" not in supervisor.stop()


def test_killed_supervisor_takes_its_programs_along(tmp_path: Path) -> None:
    with supervise(tmp_path, "exec sleep 60", "exec sleep 60") as supervisor:
        supervisor.await_line("started")
        children = descendants(supervisor.pid)

        supervisor.kill()

        wait_until(lambda: not alive(children), timeout_s=5)
