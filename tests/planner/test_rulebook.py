"""The table of rules, the code that reports them, and the document."""

from __future__ import annotations

import re
from pathlib import Path

from planner.rulebook import NOTES, REPAIRS, RULES, document

ROOT = Path(__file__).parents[2]
# As they are reported: refuse("P003", ...), note("R001", ...), yield "P011", f"P000: ...
_REPORTED = re.compile(r"[\"']([PRN]\d{3})(?:[\"']|: )")


def test_every_id_that_is_reported_is_explained_and_none_else() -> None:
    sources = [
        path.read_text()
        for path in (ROOT / "planner").glob("*.py")
        if path.name != "rulebook.py"
    ]
    reported = {found for text in sources for found in _REPORTED.findall(text)}

    assert reported == {entry.id for entry in (*RULES, *REPAIRS, *NOTES)}


def test_ids_are_numbered_in_order() -> None:
    assert [entry.id for entry in RULES] == [f"P{n:03}" for n in range(len(RULES))]
    assert [entry.id for entry in REPAIRS] == [
        f"R{n:03}" for n in range(1, len(REPAIRS) + 1)
    ]


def test_the_document_is_the_table() -> None:
    assert (ROOT / "docs/plan-rules.md").read_text() == document()
