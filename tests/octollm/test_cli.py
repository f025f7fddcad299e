"""The command line lists every package's commands and starts without Django."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from octollm.cli import exit_code
from octollm.errors import (
    ArmError,
    DeadlineExceededError,
    OctoLLMError,
    TaskRejectedError,
)
from octollm.joining import NotRunningError

ROOT = Path(__file__).resolve().parents[2]


def octollm(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("OCTOLLM_")}
    del inherited["DJANGO_SETTINGS_MODULE"]
    return subprocess.run(
        [sys.executable, "-m", "octollm", *arguments],
        cwd=ROOT,
        env={**inherited, "NO_COLOR": "1", "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_the_commands() -> None:
    shown = octollm("--help")

    assert shown.returncode == 0
    for command in ("up", "web", "worker", "migrate"):
        assert f"{command} " in shown.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("up", "--help")])
def test_starting_imports_no_django(arguments: tuple[str, ...]) -> None:
    script = (
        f"import sys; sys.argv = ['octollm', *{arguments!r}]\n"
        "from octollm.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('django' in sys.modules, file=sys.stderr)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT
    )

    assert ran.stderr.strip() == "False"


@pytest.mark.parametrize("command", ["web", "worker", "migrate"])
def test_command_without_a_system_says_so(command: str, tmp_path: Path) -> None:
    refused = octollm(command, "--data-dir", str(tmp_path))

    assert refused.returncode == 5
    assert str(tmp_path) in refused.stderr
    assert "octollm up" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_wrong_option_is_a_usage_error() -> None:
    assert octollm("worker", "--threads", "0").returncode == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ArmError("x"), 1),
        (OctoLLMError("x"), 1),
        (TaskRejectedError("x"), 3),
        (DeadlineExceededError("x"), 4),
        (NotRunningError("x"), 5),
    ],
)
def test_exit_codes_tell_what_happened(error: OctoLLMError, code: int) -> None:
    assert exit_code(error) == code


def test_database_that_is_away_is_told_in_one_line() -> None:
    shown = octollm(
        "migrate",
        OCTOLLM_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
        OCTOLLM_REDIS_URL="redis://127.0.0.1:1/0",
    )

    assert shown.returncode == 5
    assert shown.stderr == "octollm: the database is not available.\n"


def test_empty_price_means_that_none_is_set() -> None:
    script = (
        "from octollm import settings\n"
        "print(settings.OCTOLLM_LLM_PRICE_INPUT, settings.OCTOLLM_LLM_PRICE_OUTPUT)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={
            **os.environ,
            "OCTOLLM_LLM_PRICE_INPUT": "",
            "OCTOLLM_LLM_PRICE_OUTPUT": "0.5",
        },
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stdout == "None 0.5\n"
