"""Bring the database up to date; at the very first start, make an account and a key.

A process of its own (``python -m octollm.embedded.prepare``), so that the supervisor
needs no Django. Writes one JSON object to the file that its argument names: what was
made, to be shown once.
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path

from octollm.access import DEFAULT_OWNER


def main() -> None:
    """Migrate, make the account, write it down for the supervisor."""
    import django  # not at the top: settings and apps come with it

    django.setup()
    from django.core.management import call_command

    call_command("migrate", interactive=False, stdout=sys.stderr)
    Path(sys.argv[1]).write_text(json.dumps(make_first_account()))


def make_first_account() -> dict[str, str]:
    """Make an administrator with an API key if there is no account at all.

    Returns:
        ``username``, ``password`` and ``key``, or nothing: neither the password nor
        the key is stored in a form that can be shown again.
    """
    from django.contrib.auth import get_user_model
    from django.db import transaction

    from octollm.access.keys import get_or_create_owner, make_key

    users = get_user_model().objects
    with transaction.atomic():
        if users.exists():
            return {}
        password = secrets.token_urlsafe(15)
        owner = get_or_create_owner(DEFAULT_OWNER)
        owner.user = users.create_superuser(DEFAULT_OWNER, password=password)
        owner.save(update_fields=["user"])
        _, token = make_key(owner, name="first start")
    return {"username": DEFAULT_OWNER, "password": password, "key": token}


if __name__ == "__main__":
    main()
