"""``octollm arm serve``: what it refuses before it listens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from arms.commands import app
from octollm.log import configure


@pytest.fixture(autouse=True)
def _joined(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[None]:
    """Have the command find a system: the tests' own, which Django knows already."""
    monkeypatch.setenv("OCTOLLM_DATABASE_URL", "postgresql:///tests")
    yield
    # The command set up logging to the stream that its runner caught and closed.
    configure(settings.LOGGING)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["nobody"], "OCTOLLM_ARMS has no arm nobody"),
        (["judge"], "set OCTOLLM_ARM_TOKEN"),
        (["judge", "--announce-to", "http://a"], "takes a key"),
        (
            ["judge", "--announce-to", "http://a", "--host", "0.0.0.0"],  # noqa: S104
            "say by --url",
        ),
    ],
)
def test_an_arm_that_nobody_could_reach_is_not_served(
    words: list[str], reason: str
) -> None:
    result = CliRunner().invoke(app, ["arm", "serve", *words])

    assert result.exit_code == 2
    assert reason in result.stderr


def test_the_key_is_not_shown_by_the_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTOLLM_ARM_KEY", "sesame-42")

    result = CliRunner().invoke(app, ["arm", "serve", "--help"])

    assert result.exit_code == 0
    assert "sesame-42" not in result.stdout
