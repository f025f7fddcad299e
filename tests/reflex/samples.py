"""The committed sample texts; see data/README.md."""

import json
from pathlib import Path
from typing import Any

SAMPLES: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "sample.jsonl")
    .read_text()
    .splitlines()
]
