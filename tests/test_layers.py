"""Imports point one way: octollm ← reflex ← arms ← planner ← tasks_app."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("octollm", "reflex", "arms", "planner", "tasks_app")
# The two files that put the layers together.
MAY_NAME_ALL = {"octollm/urls.py", "octollm/settings.py"}
# Names of packages of ours in texts, such as "reflex.screening.is_ready", are how a
# left package would reach a right one behind the back of its imports.
ABOVE_OCTOLLM = LAYERS[1:]
# They import nothing above, but list packages: to load their commands, to start a
# worker with the actors, to hash the migrations on disk.
LISTS_PACKAGES = {
    "octollm/cli.py",
    "octollm/programs.py",
    "octollm/embedded/stamp.py",
}


def sources(layer: str) -> Iterator[tuple[str, str]]:
    """Each module of a layer: its path from the root and its text."""
    for path in sorted((ROOT / layer).rglob("*.py")):
        if "migrations" not in path.parts:
            yield path.relative_to(ROOT).as_posix(), path.read_text()


def imported_names(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wrong_imports(path: str, source: str) -> list[str]:
    layer = path.partition("/")[0]
    above = LAYERS[LAYERS.index(layer) + 1 :]
    return [n for n in imported_names(source) if n.partition(".")[0] in above]


def other_arms(path: str, source: str) -> list[str]:
    """Imports by which the code of one arm reaches into another's."""
    parts = path.split("/")
    if parts[:2] != ["arms", "services"] or len(parts) < 4:
        return []
    own = parts[2]
    services = [n for n in imported_names(source) if n.startswith("arms.services.")]
    packages = {p.name for p in (ROOT / "arms/services").iterdir() if p.is_dir()}
    return [n for n in services if n.split(".")[2] in packages - {own}]


def names_above(source: str) -> list[str]:
    """Dotted paths into the packages above octollm, in any text but docstrings."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    # The first expression of a body, if it is text, is its docstring.
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
        and node.value.partition(".")[0] in ABOVE_OCTOLLM
        and node.value.replace(".", "_").isidentifier()
    ]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer: str) -> None:
    modules = {path: text for path, text in sources(layer) if path not in MAY_NAME_ALL}
    wrong = {path: wrong_imports(path, text) for path, text in modules.items()}
    assert len(modules) > 1
    assert {path: names for path, names in wrong.items() if names} == {}


def test_arms_never_call_arms() -> None:
    wrong = {path: other_arms(path, text) for path, text in sources("arms")}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_the_floor_does_not_name_what_stands_on_it() -> None:
    allowed = MAY_NAME_ALL | LISTS_PACKAGES
    modules = [(p, text) for p, text in sources("octollm") if p not in allowed]
    named = {path: names_above(text) for path, text in modules}
    assert {path: names for path, names in named.items() if names} == {}


def test_the_client_and_the_supervisor_import_no_django() -> None:
    for name in ("__init__", "client", "embedded/up", "embedded/instance", "errors"):
        path = ROOT / f"octollm/{name}.py"
        if path.exists():
            names = list(imported_names(path.read_text()))
            assert [n for n in names if n.partition(".")[0] == "django"] == [], name


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("reflex/a.py", "import arms.registry", ["arms.registry"]),
        ("arms/a.py", "from planner import plan", ["planner.plan"]),
        (
            "octollm/a.py",
            "def f():\n  from tasks_app.turn import x",
            ["tasks_app.turn.x"],
        ),
        ("tasks_app/a.py", "import octollm, reflex, arms, planner", []),
        ("arms/a.py", "from reflex import vault\nimport armslength", []),
    ],
)
def test_the_rule_sees_a_wrong_import(path: str, source: str, found: list[str]) -> None:
    assert wrong_imports(path, source) == found


def test_the_rule_sees_an_arm_in_an_arm() -> None:
    path = "arms/services/judge/arm.py"
    wrong = "from arms.services.analyst.arm import AnalystArm"
    right = "from arms.services.judge import checks\nfrom arms.services import schemas"
    assert other_arms(path, wrong) == ["arms.services.analyst.arm.AnalystArm"]
    assert other_arms(path, right) == []


def test_the_rule_sees_a_name_in_a_text() -> None:
    assert names_above('"""arms.x"""\nP = "arms.registry.get"') == ["arms.registry.get"]
    assert names_above('T = "arms never call arms"') == []
