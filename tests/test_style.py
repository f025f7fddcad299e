"""What the linters do not measure: sizes, and a reason beside every exemption."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("octollm", "reflex", "arms", "planner", "tasks_app")
MAX_FUNCTION_LINES = 40
MAX_FILE_LINES = 400
EXEMPTION = re.compile(r"# (?:noqa|type: ignore)\b(?P<codes>[^#]*)(?P<reason># .+)?$")


def sources(*folders: str) -> list[Path]:
    found = [path for name in folders for path in (ROOT / name).rglob("*.py")]
    assert found
    return [path for path in found if "migrations" not in path.parts]


def code_lines(tree: ast.AST, text: str) -> set[int]:
    """Return the numbers of lines that are neither blank, comment nor docstring."""
    lines = enumerate(text.splitlines(), start=1)
    code = {n for n, line in lines if line.strip() and line.strip()[0] != "#"}
    for node in ast.walk(tree):
        # A text that stands alone: a docstring, or a field's.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            code -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return code


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def too_long(path: Path) -> Iterator[str]:
    """Name the file, and those of its functions, that are longer than allowed."""
    text = path.read_text()
    tree = ast.parse(text)
    code = code_lines(tree, text)
    if len(code) > MAX_FILE_LINES:
        yield str(path)
    for node in functions(tree):
        lines = code & set(range(node.lineno, (node.end_lineno or 0) + 1))
        if len(lines) > MAX_FUNCTION_LINES:
            yield f"{path}: {node.name}"


def test_files_and_functions_stay_short():
    found = [name for path in sources(*PACKAGES, "tests") for name in too_long(path)]

    assert found == []


def test_every_exemption_names_its_rule_and_gives_a_reason():
    lines = [line for p in sources(*PACKAGES) for line in p.read_text().splitlines()]
    found = [match for line in lines if (match := EXEMPTION.search(line))]

    assert len(found) > 10
    assert [m[0] for m in found if not (m["codes"].strip() and m["reason"])] == []
