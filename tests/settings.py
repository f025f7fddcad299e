"""The project's settings for tests: private keys, no model, short times."""

import os

# Tests never join an operator's system, whatever the shell says.
os.environ["OCTOLLM_DATA_DIR"] = "/nonexistent/octollm-tests"
for name in list(os.environ):
    if name.startswith("OCTOLLM_LLM_"):
        del os.environ[name]

from octollm.settings import *  # noqa: E402, F403

SECRET_KEY = "tests-only-" + "k" * 40
OCTOLLM_VAULT_KEYS = ["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]
OCTOLLM_HMAC_KEY = "tests-only-" + "h" * 40
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
