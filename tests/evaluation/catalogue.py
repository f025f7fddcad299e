"""The arms that the evaluation plans for: those there are, and those to come.

The coder and the tool executor do not run yet. Their entries here say what their
capabilities will take and give, so that plans which use them can be judged.
"""

from __future__ import annotations

from decimal import Decimal

from arms import registry
from arms.contract import ArmSpec, Capability
from arms.services import schemas
from octollm.types import JSONObject

_CODE = schemas.text("Source code.")
_RAN: dict[str, JSONObject] = {
    "stdout": schemas.anything("What it wrote."),
    "stderr": schemas.text(),
    "exit_code": schemas.count(),
}


def _capability(
    name: str,
    description: str,
    takes: dict[str, JSONObject],
    gives: dict[str, JSONObject],
    *,
    required: tuple[str, ...],
) -> Capability:
    return Capability(
        name=name,
        description=description,
        input_schema=schemas.record(takes, required=required),
        output_schema=schemas.record(gives),
        cost_usd=Decimal("0.02"),
        seconds=15.0,
    )


CODER = ArmSpec(
    name="coder",
    version="0",
    description="Writes and mends code, and runs its tests in a sandbox.",
    capabilities=(
        _capability(
            "generate",
            "Write code for a task, with tests.",
            {"task": schemas.text(), "language": schemas.text(), "notes": {}},
            {"code": _CODE, "tests": _CODE, "explanation": schemas.text()},
            required=("task",),
        ),
        _capability(
            "debug",
            "Find and mend faults in code.",
            {"code": _CODE, "error": {}, "tests": _CODE},
            {"code": _CODE, "explanation": schemas.text()},
            required=("code",),
        ),
        _capability(
            "refactor",
            "Change the form of code and not what it does.",
            {"code": _CODE, "instructions": schemas.text()},
            {"code": _CODE, "changes": schemas.array(schemas.text())},
            required=("code",),
        ),
        _capability(
            "analyze",
            "Find smells, faults and weaknesses in code without changing it.",
            {"code": _CODE},
            {"findings": schemas.array({}), "metrics": schemas.mapping({})},
            required=("code",),
        ),
        _capability(
            "test",
            "Run tests on code and report which pass.",
            {"code": _CODE, "tests": _CODE},
            {
                "passed": schemas.array(schemas.text()),
                "failed": schemas.array(schemas.text()),
                "report": schemas.text(),
            },
            required=("code", "tests"),
        ),
    ),
)
TOOL_EXECUTOR = ArmSpec(
    name="tool_executor",
    version="0",
    description="Runs commands and code in a sandbox, asks hosts and tools.",
    capabilities=(
        _capability(
            "shell",
            "Run one command in the task's workspace.",
            {"command": schemas.text(), "stdin": {}},
            _RAN,
            required=("command",),
        ),
        _capability(
            "python",
            "Run Python code.",
            {"code": _CODE, "stdin": {}},
            _RAN,
            required=("code",),
        ),
        _capability(
            "http",
            "Send one request to a host.",
            {
                "host": schemas.text(),
                "path": schemas.text(),
                "method": schemas.one_of(("GET", "POST", "PUT", "DELETE")),
                "headers": schemas.mapping(schemas.text()),
                "body": {},
            },
            {
                "status": schemas.count(),
                "headers": schemas.mapping({}),
                "body": schemas.anything("Text, or JSON."),
            },
            required=("host",),
        ),
        _capability(
            "mcp",
            "Call a tool of a registered MCP server.",
            {
                "server": schemas.text(),
                "tool": schemas.text(),
                "arguments": schemas.mapping({}),
            },
            {"content": schemas.anything("What the tool gave.")},
            required=("server", "tool"),
        ),
    ),
)
#: What the operator of the evaluation allows: some goals name hosts and commands.
POLICY = '{"hosts": "*", "commands": "*"}'
_OF_TESTS = frozenset({"asker", "gate"})


def evaluation_catalogue() -> tuple[ArmSpec, ...]:
    """Return the arms there are and those to come, by name; no arm of the tests."""
    known = {spec.name: spec for spec in (CODER, TOOL_EXECUTOR)}
    known |= {spec.name: spec for spec in registry.catalogue()}
    return tuple(known[name] for name in sorted(known.keys() - _OF_TESTS))
