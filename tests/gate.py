"""An arm for tests: answers at once or in `takes` seconds, fails, hangs, waits for a file.

It runs inside real worker processes, so what it is told comes with the step's input
and what it did is seen in the file system: one file per execution.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

from arms.contract import (
    ArmReply,
    ArmRequest,
    ArmServices,
    ArmSpec,
    Capability,
    Health,
)
from arms.llm import Message, complete
from octollm.errors import ArmError, ArmUnavailableError
from octollm.types import JSONValue

_ANY: dict[str, JSONValue] = {"type": "object"}
_VALUE: dict[str, JSONValue] = {
    "type": "object",
    "properties": {"value": {}, "score": {}, "started": {}, "ended": {}},
}


def _capability(name: str, description: str, *uses: str) -> Capability:
    return Capability(
        name=name,
        description=description,
        input_schema=_ANY,
        output_schema=_VALUE,
        seconds=0.1,
        uses=uses,
    )


class GateArm:
    """Echoes its input, or waits at a gate."""

    spec = ArmSpec(
        name="gate",
        version="1",
        description="Waits and echoes, for tests.",
        is_repeatable=True,
        sees=frozenset({"EMAIL"}),
        capabilities=(
            _capability("echo", "Gives back value."),
            _capability("wait", "Waits until the file `gate` exists."),
            _capability("fail", "Fails for good."),
            _capability("flake", "Fails until it has been tried `times` times."),
            _capability("knock", "Fails, not for good, unless the file `gate` exists."),
            _capability("ask", "Asks a model for an answer of `room` tokens.", "model"),
            _capability("crash", "Raises what an arm should not."),
            _capability("freeze", "Keeps the interpreter's lock for `seconds`."),
            _capability("die", "Kills the process it runs in."),
            _capability("hang", "Never ends by itself."),
        ),
    )

    def execute(self, request: ArmRequest, services: ArmServices) -> ArmReply:
        """Do what the capability says."""
        started = time.time()
        _take(float(str(request.input.get("takes") or 0)), services)
        if request.capability == "hang":
            _take(float("inf"), services)
        _fail(request)
        if request.capability == "wait":
            _wait(request, services)
        if request.capability == "freeze" and request.attempt == 1:
            # Through PyDLL: unlike CDLL it does not let go of the lock.
            ctypes.PyDLL(None).sleep(int(str(request.input["seconds"])))
        value = request.input.get("value")
        if request.capability == "ask":
            value = _ask(request, services)
        return ArmReply(
            output={
                "value": value,
                "score": request.input.get("score"),
                "started": started,
                "ended": time.time(),
            },
            confidence=1.0,
            confidence_reason="an echo is exact",
        )

    def check(self) -> Health:
        """Be well."""
        return Health(is_healthy=True)


def _take(seconds: float, services: ArmServices) -> None:
    """Let time pass, as work does, until somebody asks to stop."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        services.stop.check()
        time.sleep(min(0.02, max(0.0, until - time.monotonic())))


def _fail(request: ArmRequest) -> None:
    """Fail in the way that the capability says, if it does."""
    if request.capability == "fail":
        raise ArmError("It failed for good.", arm_name="gate")
    if request.capability == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if request.capability == "crash":
        raise ZeroDivisionError(str(request.input.get("value")))
    if request.capability == "flake" and request.attempt <= int(
        str(request.input["times"])
    ):
        raise ArmUnavailableError("Not now.", arm_name="gate")
    if request.capability == "knock" and not _gate(request).exists():
        raise ArmUnavailableError("Nobody opens.", arm_name="gate")


def _wait(request: ArmRequest, services: ArmServices) -> None:
    """Leave a mark that names this process, then wait for the gate."""
    gate = _gate(request)
    gate.with_name(f"{gate.name}.{request.step_id}.{os.getpid()}").touch()
    while not gate.exists():
        services.stop.check()
        time.sleep(0.01)


def _gate(request: ArmRequest) -> Path:
    return Path(str(request.input["gate"]))


def _ask(request: ArmRequest, services: ArmServices) -> str:
    question = Message(role="user", content=str(request.input.get("value")))
    return complete(
        [question],
        purpose="analysis",
        services=services,
        max_output_tokens=int(str(request.input["room"])),
    ).text
