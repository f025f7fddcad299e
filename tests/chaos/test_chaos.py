"""The short form of ``make chaos``, and that whatever ends a run, nothing is left."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from octollm.embedded.processes import kill_group
from tests.chaos.schedule import KINDS
from tests.up import ROOT, alive, clean_environment, descendants
from tests.waiting import wait_until

# Each kind of strike comes once; no task hangs or kills its workers, which takes long.
SHORT = ("--seed=528", "--tasks=40", "--seconds=12", "--every=1.6")


@pytest.fixture
def home() -> Path:
    """Return the directory that a run makes for itself."""
    # Not in TMPDIR, which may be too long for a socket's address.
    return Path(f"/tmp/octollm-tests-{secrets.token_hex(8)}")  # noqa: S108  # see above


@contextmanager
def chaos(*options: str, home: Path, said: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run it with engines of its own; kill what a failed test leaves of it."""
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.run", *options],
            cwd=ROOT,
            env={**clean_environment(), "OCTOLLM_TEST_HOME": str(home)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill_group(process)


@pytest.mark.timeout(240)  # 30 s on two idle cores
def test_nothing_is_lost_or_done_twice(tmp_path: Path, home: Path):
    said, report = tmp_path / "said", tmp_path / "report.md"

    with chaos(*SHORT, f"--report={report}", home=home, said=said) as run:
        assert run.wait(200) == 0, said.read_text()

    text = report.read_text()
    assert "every invariant holds" in text
    assert "Tasks: 40 accepted of 40" in text
    assert [kind for kind in KINDS if f"- {kind}: 1, at " not in text] == []
    assert "--seed=528 --tasks=40 --seconds=12.0 --every=1.6" in text
    assert not home.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_run_leaves_nothing(number: signal.Signals, tmp_path: Path, home: Path):
    said = tmp_path / "said"
    with chaos("--tasks=500", home=home, said=said) as run:
        wait_until(lambda: "0 s: " in said.read_text(), timeout_s=60)
        left = descendants(run.pid)

        run.send_signal(number)

        assert run.wait(30) != 0
    assert len(left) > 5
    assert wait_until(lambda: not alive(left))
    assert not home.exists()
