"""Texts cut into sentences, paragraphs, or sections with their headings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from arms.services.analyst.texts import sentences

_BLANK = re.compile(r"\n[ \t\r]*\n")
_HEADING = re.compile(r"[ ]{0,3}#{1,6}[ \t]+(?P<title>\S.*)")
_UNDERLINE = re.compile(r"[ ]{0,3}(?:={3,}|-{3,})[ \t]*")
_LONGEST_TITLE = 200


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a text; only sections have a heading."""

    text: str
    heading: str = ""


def _sentences(text: str) -> Iterator[Part]:
    return (Part(text=sentence) for sentence in sentences(text))


def _paragraphs(text: str) -> Iterator[Part]:
    pieces = (piece.strip() for piece in _BLANK.split(text))
    return (Part(text=piece) for piece in pieces if piece)


def _sections(text: str) -> Iterator[Part]:
    """Yield what stands under each heading; what stands before the first has none."""
    heading, is_begun = "", False
    lines: list[str] = []
    every = text.splitlines()
    for place, line in enumerate(every):
        following = every[place + 1] if place + 1 < len(every) else ""
        if _UNDERLINE.fullmatch(line) and is_begun and not lines:
            continue
        title = _title(line, following)
        if title is None:
            lines.append(line)
            continue
        if is_begun or any(each.strip() for each in lines):
            yield Part(heading=heading, text="\n".join(lines).strip())
        heading, lines, is_begun = title, [], True
    if is_begun or any(each.strip() for each in lines):
        yield Part(heading=heading, text="\n".join(lines).strip())


def _title(line: str, following: str) -> str | None:
    """Return the heading that a line is, in Markdown: with #, or underlined."""
    if len(line) > _LONGEST_TITLE:
        return None
    match = _HEADING.fullmatch(line)
    if match is not None:
        return match["title"].rstrip().rstrip("#").rstrip() or match["title"].strip()
    is_title = bool(line.strip()) and not _UNDERLINE.fullmatch(line)
    return line.strip() if is_title and _UNDERLINE.fullmatch(following) else None


SPLITTERS: Mapping[str, Callable[[str], Iterator[Part]]] = {
    "sentences": _sentences,
    "paragraphs": _paragraphs,
    "sections": _sections,
}
