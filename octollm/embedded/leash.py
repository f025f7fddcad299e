"""Run a program that ends with the supervisor, where the kernel does not see to it.

Linux tells a process that its parent died; macOS does not, and the engines are no
programs of ours that could hold a tether. So there they are started by this one:
``python -m octollm.embedded.leash TETHER SIGNAL PROGRAM [ARGUMENT ...]``.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from signal import Signals

from octollm.embedded import tether

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)


def leashed(command: list[str], *, path: Path, death_signal: Signals) -> list[str]:
    """Return the command that runs ``command`` on a leash."""
    own = [sys.executable, "-m", "octollm.embedded.leash"]
    return [*own, str(path), str(int(death_signal)), *command]


def main() -> int:
    """Run the program, pass signals on, end it when the tether is let go."""
    path, number, *command = sys.argv[1:]
    program = subprocess.Popen(command)  # noqa: S603  # what our supervisor chose

    def end() -> None:
        tether.wait(Path(path))
        program.send_signal(Signals(int(number)))

    for passed_on in _PASSED_ON:
        signal.signal(passed_on, lambda got, _: program.send_signal(got))
    threading.Thread(target=end, daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
