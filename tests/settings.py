"""The project's settings for tests: private engines and keys, no model, short times.

Read before any conftest is, so the engines' addresses are settled here; the
``engines`` fixture starts the engines there when a test first needs them.
"""

import os
import secrets
from pathlib import Path

from octollm.embedded.layout import engine_layout

# Tests never join an operator's system, whatever the shell says. The first process
# clears the shell's settings; its children keep what the tests gave them. Only who
# asks for a real model keeps what the shell says about it.
if "OCTOLLM_TEST_HOME" not in os.environ:
    _kept = ["OCTOLLM_TEST_"]
    if os.environ.get("OCTOLLM_TEST_LIVE"):
        _kept += ["OCTOLLM_LLM_", "OCTOLLM_PLAN_"]
    for name in list(os.environ):
        if name.startswith("OCTOLLM_") and not name.startswith(tuple(_kept)):
            del os.environ[name]
    # Not made here: mypy and makemigrations read this file too. TMPDIR may be too
    # long for a socket's address, and nobody can guess this name.
    _name = "octollm-tests-" + secrets.token_hex(8)
    os.environ["OCTOLLM_TEST_HOME"] = f"/tmp/{_name}"  # noqa: S108
_layout = engine_layout(Path(os.environ["OCTOLLM_TEST_HOME"]) / "engines")
os.environ["OCTOLLM_DATA_DIR"] = "/nonexistent/octollm-tests"
# All processes of a run share the compiled rules; they go with its home.
os.environ["OCTOLLM_REFLEX_RULES_DIR"] = os.environ["OCTOLLM_TEST_HOME"] + "/rules"
# Other engines than the private ones, say another PostgreSQL version.
os.environ["OCTOLLM_DATABASE_URL"] = (
    os.environ.get("OCTOLLM_TEST_DATABASE_URL") or _layout.database_url
)
os.environ["OCTOLLM_REDIS_URL"] = (
    os.environ.get("OCTOLLM_TEST_REDIS_URL") or _layout.redis_url
)
# Many tests ask the same of servers with different answers; those of the cache turn
# it on.
os.environ.setdefault("OCTOLLM_PLAN_CACHE_TTL_S", "0")

from octollm.settings import *  # noqa: E402, F403

SECRET_KEY = "tests-only-" + "k" * 40
OCTOLLM_VAULT_KEYS = ["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]
OCTOLLM_HMAC_KEY = "tests-only-" + "h" * 40
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
OCTOLLM_ARMS = [
    *OCTOLLM_ARMS,  # noqa: F405
    "tests.gate.GateArm",
    "tests.asker.AskerArm",
]
# The same name whatever the engine's own database is called.
DATABASES["default"]["TEST"] = {"NAME": "test_octollm"}  # noqa: F405
