"""What PostgreSQL can keep of the JSON that Python reads.

Python takes NaN, NUL characters and halves of surrogate pairs for JSON; ``jsonb``
takes none of them. Whoever reads text that is not trusted asks here first: once it
has reached a statement, all that is known is that the statement failed.
"""

from __future__ import annotations

import json
import re

# \u0000 after an even number of backslashes: there the escape is real.
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def holds_nul(text: str) -> bool:
    """Say whether a string in this JSON text holds a NUL character."""
    return "\\u0000" in text and _ESCAPED_NUL.search(text) is not None


def why_not_storable(value: object) -> str:
    """Say what about a value cannot be stored; nothing when it can."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "it holds half of a surrogate pair"
    except ValueError:
        return "it holds a number that is not finite, or too long"
    except RecursionError:
        return "it is nested too deep"
    return "it holds a NUL character" if holds_nul(text) else ""
