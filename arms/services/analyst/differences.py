"""What changed between two texts, line by line.

Lines that occur once in both are fixed points; between them small stretches are
matched exactly and large ones count as replaced. So time grows with the length of the
texts, however alike or unlike they are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import Match, SequenceMatcher

from arms.services.analyst.texts import Check

NAME = "lines; unique common ones are fixed points"
#: Pairs of lines that are compared between all fixed points together.
MAX_PAIRS = 4_000_000
#: Lines that are looked at for fixed points, those of nested stretches again.
MAX_LINES = 10_000_000
_LARGEST = 250_000


class Differences(SequenceMatcher[str]):
    """The standard library's opcodes over matches found in bounded time.

    Its own matcher takes cubic time on texts made for it.
    """

    def __init__(self, a: Sequence[str], b: Sequence[str], *, check: Check) -> None:
        """Match the lines of ``a`` and ``b``; both lists of lines."""
        self.is_exact = True
        self._check = check
        self._room, self._lines = MAX_PAIRS, MAX_LINES
        super().__init__(None, "", "", autojunk=False)
        self.a, self.b = a, b
        self._blocks = [*_joined(self._pairs(a, b)), Match(len(a), len(b), 0)]

    def get_matching_blocks(self) -> list[Match]:
        """Return the stretches that both have, in order."""
        return self._blocks

    def _pairs(self, a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Yield the places of lines that match, in order."""
        stack = [(0, len(a), 0, len(b))]
        while stack:
            self._check()
            low_a, high_a, low_b, high_b = stack.pop()
            while low_a < high_a and low_b < high_b and a[low_a] == b[low_b]:
                yield low_a, low_b
                low_a, low_b = low_a + 1, low_b + 1
            fixed = self._fixed(a[low_a:high_a], b[low_b:high_b])
            if fixed:
                at_a, at_b = low_a, low_b
                pieces = []
                for one, other in fixed:
                    pieces.append((at_a, low_a + one, at_b, low_b + other))
                    at_a, at_b = low_a + one, low_b + other
                # Each piece but the first begins with its fixed point.
                stack += reversed([*pieces, (at_a, high_a, at_b, high_b)])
            else:
                yield from self._small(a, b, (low_a, high_a, low_b, high_b))

    def _fixed(self, a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
        """Return the fixed points of a stretch, as long as there is time for them."""
        self._lines -= len(a) + len(b)
        return _fixed_points(a, b) if self._lines > 0 else []

    def _small(
        self, a: Sequence[str], b: Sequence[str], part: tuple[int, int, int, int]
    ) -> Iterator[tuple[int, int]]:
        """Match a stretch without fixed points, if it is not too large."""
        low_a, high_a, low_b, high_b = part
        size = (high_a - low_a) * (high_b - low_b)
        if not size:
            return
        if size > min(_LARGEST, self._room):
            self.is_exact = False
            return
        self._room -= size
        for one, other in _longest_common(a[low_a:high_a], b[low_b:high_b]):
            yield low_a + one, low_b + other


def _fixed_points(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of lines that each side has once, in the order of both.

    Source: patience sorting, as in Bram Cohen's patience diff.
    """
    counts_a, counts_b = Counter(a), Counter(b)
    places = {line: at for at, line in enumerate(b) if counts_b[line] == 1}
    pairs = [
        (at, places[line])
        for at, line in enumerate(a)
        if counts_a[line] == 1 and line in places
    ]
    return _increasing(pairs)


def _increasing(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest run of pairs whose second members grow."""
    ends: list[int] = []
    at_end: list[int] = []
    before: list[int | None] = []
    for number, (_, place) in enumerate(pairs):
        pile = bisect_left(ends, place)
        before.append(at_end[pile - 1] if pile else None)
        if pile == len(ends):
            ends.append(place)
            at_end.append(number)
        else:
            ends[pile], at_end[pile] = place, number
    chosen = []
    last = at_end[-1] if at_end else None
    while last is not None:
        chosen.append(pairs[last])
        last = before[last]
    return chosen[::-1]


def _longest_common(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the places of a longest common subsequence, by dynamic programming."""
    rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for one in range(len(a) - 1, -1, -1):
        row, below, line = rows[one], rows[one + 1], a[one]
        for other in range(len(b) - 1, -1, -1):
            if line == b[other]:
                row[other] = below[other + 1] + 1
            else:
                row[other] = max(below[other], row[other + 1])
    one = other = 0
    while one < len(a) and other < len(b):
        if a[one] == b[other]:
            yield one, other
            one, other = one + 1, other + 1
        elif rows[one + 1][other] >= rows[one][other + 1]:
            one += 1
        else:
            other += 1


def _joined(pairs: Iterator[tuple[int, int]]) -> Iterator[Match]:
    """Join neighbouring pairs to stretches."""
    start_a = start_b = size = 0
    for one, other in pairs:
        if size and (one, other) == (start_a + size, start_b + size):
            size += 1
            continue
        if size:
            yield Match(start_a, start_b, size)
        start_a, start_b, size = one, other, 1
    if size:
        yield Match(start_a, start_b, size)


def unified(a: Sequence[str], b: Sequence[str], found: Differences) -> Iterator[str]:
    """Yield the lines of a unified diff, without its two lines of file names."""
    for group in found.get_grouped_opcodes(3):
        first, last = group[0], group[-1]
        yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@"
        for tag, low_a, high_a, low_b, high_b in group:
            if tag == "equal":
                yield from (f" {line}" for line in a[low_a:high_a])
            else:
                yield from (f"-{line}" for line in a[low_a:high_a])
                yield from (f"+{line}" for line in b[low_b:high_b])


def _range(start: int, stop: int) -> str:
    """Return how a unified diff writes lines: the first and how many."""
    length = stop - start
    beginning = start + bool(length)
    return f"{beginning}" if length == 1 else f"{beginning},{length}"
