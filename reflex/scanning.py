"""What ``octollm reflex scan`` prints: findings by line, and never a value."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from octollm.types import JSONObject
from reflex.decide import Checkpoint
from reflex.engine import engine
from reflex.redact import Style
from reflex.service import Wish, process

STYLES = tuple(style.value for style in Style)
_COLUMNS = ("LINE", "COLUMN", "LENGTH", "KIND", "SEVERITY", "RULE")


def scan(text: str, *, checkpoint: str, redaction: str) -> JSONObject:
    """Return what the service would answer, of a text of any length.

    The clean copy is only there when a style for it is given.
    """
    # Compiling the rules is no part of the time that is told.
    engine()
    answer = process(
        Wish(
            text=text,
            checkpoint=Checkpoint(checkpoint),
            redaction=Style(redaction or Style.PLACEHOLDER),
            use_cache=False,
        )
    )
    del answer["cache_hit"]
    if not redaction:
        del answer["redacted_text"]
    else:
        # Bytes that were no UTF-8 cannot be printed back.
        copy = str(answer["redacted_text"]).encode("utf-8", "surrogateescape")
        answer["redacted_text"] = copy.decode("utf-8", "replace")
    return answer


def table(text: str, answer: JSONObject) -> Iterator[str]:
    """Yield the lines of a table of all findings, by position, and what was decided."""
    rows = [_COLUMNS, *_rows(text, answer)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    if len(rows) > 1:
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield "  ".join(cells).rstrip()
        yield ""
    yield f"{answer['action']}: {len(rows) - 1} found, rules {answer['ruleset_version']}"
    if "redacted_text" in answer:
        yield ""
        yield str(answer["redacted_text"])


def _rows(text: str, answer: JSONObject) -> list[tuple[str, ...]]:
    starts = [0, *(at + 1 for at, sign in enumerate(text) if sign == "\n")]
    found: list[tuple[int, tuple[str, ...]]] = []
    for name in ("pii_matches", "injection_matches", "literal_matches"):
        matches = answer[name]
        for match in matches if isinstance(matches, list) else []:
            if isinstance(match, dict):
                found.append(_row(match, starts))
    return [row for _, row in sorted(found)]


def _row(match: JSONObject, starts: list[int]) -> tuple[int, tuple[str, ...]]:
    start, end = int(str(match["start"])), int(str(match["end"]))
    line = bisect_right(starts, start)
    column = start - starts[line - 1] + 1
    kind = match["type"] if "type" in match else match["family"]
    cells = (line, column, end - start, kind, match["severity"], match["rule"])
    return start, tuple(str(cell) for cell in cells)
