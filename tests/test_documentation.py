"""What the documents say is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_setting_is_documented():
    read = set(
        re.findall(r'"(OCTOLLM_[A-Z_]+)"', (ROOT / "octollm/settings.py").read_text())
    )
    told = set(
        re.findall(r"`(OCTOLLM_[A-Z_]+)`", (ROOT / "docs/configuration.md").read_text())
    )

    assert read - told == set()
    assert told - read <= {"OCTOLLM_DATA_DIR"}


def test_architecture_is_short_and_names_files_that_exist():
    text = (ROOT / "ARCHITECTURE.md").read_text()

    assert len(text.splitlines()) < 150
    for path in re.findall(
        r"`((?:tests|octollm|arms|planner|reflex|tasks_app)/[\w/]+\.py)`", text
    ):
        assert (ROOT / path).is_file(), path


def test_readme_commands_are_in_the_makefile():
    targets = set(
        re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M)
    )

    named = set(
        re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.M)
    )

    assert {"run", "test"} <= named <= targets
