"""Texts with credentials, made anew each time from the providers' formats.

Committed, they would look like leaks to every scanner of repositories.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Iterator

_LETTERS = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"
_UPPER = string.ascii_uppercase + "234567"
_URL = _LETTERS + "_-"
_SAYINGS = (
    "export TOKEN={}",
    "The key {} stopped working.",
    "config:\n  value: {}\n",
    '{{"credential": "{}"}}',
    "Please rotate {} today.",
    "curl -H 'X-Key: {}' https://api.example.org/v1",
    "I pasted {} into the chat by mistake",
    "log: authenticated with {}, 200 OK",
)
_ASSIGNMENTS = (
    "password = '{}'",
    "DB_PASSWORD={}",
    "my password is {}",
    "api_key: {}",
    "client_secret={}",
    '"access_token": "{}"',
    "passphrase: {}",
)
# Look-alikes: nothing secret is in them.
_HARMLESS = (
    "password: str",
    "The password must be changed every 90 days.",
    "api_key = os.environ['API_KEY']",
    "secret: ${{ secrets.TOKEN }}",
    "token = get_token(user)",
    "commit {hex40} fixes it",
    "sha256:{hex64}",
    "request id {uuid}",
    "https://example.org/path/to/{word}?page=2",
    "class TokenizerWithAVeryLongNameForTests: pass",
    "AKIA is the prefix of key identifiers",
    "the sk-learn pipeline and the ghp prefix",
)


def secret_rows(number: int = 600, seed: int = 6) -> Iterator[dict[str, object]]:
    """Yield texts with a credential each, and a third as many look-alikes."""
    chance = random.Random(seed)  # noqa: S311 - the same texts every time
    makers = list(_makers(chance).items())
    for index in range(number):
        name, maker = makers[index % len(makers)]
        secret = maker()
        sayings = _ASSIGNMENTS if name == "assigned" else _SAYINGS
        saying = chance.choice(sayings) if name != "whole" else "{}"
        before, _, after = saying.replace("{{", "{").replace("}}", "}").partition("{}")
        span = {"type": "secret", "start": len(before), "end": len(before + secret)}
        yield {"text": before + secret + after, "spans": [span]}
        if index % 3 == 0:
            yield {"text": _harmless(chance), "spans": []}


def _some(chance: random.Random, letters: str, length: int) -> str:
    # A digit and a letter at least, as all of these formats have by chance.
    text = "".join(chance.choices(letters, k=length))
    return text[:-2] + chance.choice("abcdef") + chance.choice("23456789")


def _makers(chance: random.Random) -> dict[str, Callable[[], str]]:
    def some(letters: str, length: int) -> str:
        return _some(chance, letters, length)

    def upper(length: int) -> str:
        return "".join(chance.choices(_UPPER, k=length))

    def part(content: object) -> str:
        encoded = base64.urlsafe_b64encode(json.dumps(content).encode())
        return encoded.decode().rstrip("=")

    return {
        "aws": lambda: "AKIA" + upper(16),
        "github": lambda: "ghp_" + some(_LETTERS, 36),
        "github_fine": lambda: "github_pat_"
        + some(_LETTERS, 22)
        + "_"
        + some(_LETTERS, 59),
        "gitlab": lambda: "glpat-" + some(_URL, 20),
        "slack": lambda: f"xoxb-{chance.randrange(10**11, 10**12)}-{some(_LETTERS, 24)}",
        "stripe": lambda: "sk_live_" + some(_LETTERS, 24),
        "google": lambda: "AIza" + some(_URL, 35),
        "openai": lambda: "sk-proj-" + some(_URL, 48),
        "anthropic": lambda: "sk-ant-api03-" + some(_URL, 80),
        "hugging_face": lambda: "hf_" + some(_LETTERS, 34),
        "npm": lambda: "npm_" + some(_LETTERS, 36),
        "pypi": lambda: "pypi-AgEIcHlwaS5vcmc" + some(_URL, 60),
        "sendgrid": lambda: f"SG.{some(_URL, 22)}.{some(_URL, 43)}",
        "twilio": lambda: "SK" + some(_HEX, 32),
        "digitalocean": lambda: "dop_v1_" + some(_HEX, 64),
        "shopify": lambda: "shpat_" + some(_HEX, 32),
        "telegram": lambda: f"{chance.randrange(10**8, 10**9)}:AA{some(_URL, 33)}",
        "docker": lambda: "dckr_pat_" + some(_URL, 27),
        "grafana": lambda: "glsa_" + some(_LETTERS, 32) + "_" + some(_HEX, 8),
        "jwt": lambda: f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': some(_LETTERS, 10)})}.{some(_URL, 43)}",
        "database": lambda: f"postgres://app:{some(_LETTERS, 14)}@db.example.org:5432/app",
        "cache": lambda: f"redis://:{some(_LETTERS, 16)}@cache.example.org:6379/0",
        "private_key": lambda: _private_key(chance),
        "assigned": lambda: some(_LETTERS + "!#%*", 12),
    }


def _private_key(chance: random.Random) -> str:
    kind = chance.choice(["RSA ", "EC ", "OPENSSH ", ""])
    lines = "\n".join(_some(chance, _LETTERS + "+/", 64) for _ in range(4))
    return (
        f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"
    )


def _harmless(chance: random.Random) -> str:
    fields = {
        "hex40": "".join(chance.choices(_HEX, k=40)),
        "hex64": "".join(chance.choices(_HEX, k=64)),
        "uuid": "550e8400-e29b-41d4-a716-" + "".join(chance.choices(_HEX, k=12)),
        "word": "".join(chance.choices(string.ascii_lowercase, k=12)),
    }
    saying = chance.choice(_HARMLESS)
    for name, value in fields.items():
        saying = saying.replace("{" + name + "}", value)
    return saying
