"""Who is asking: a key's holder or a person at a browser, and for which owner."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request

from octollm.access import owners
from octollm.access.models import ApiKey, Owner


@dataclass(frozen=True, kw_only=True)
class KeyHolder:
    """``request.user`` of a call made with an API key.

    It answers what DRF and the templates ask of a user; it is no account and has
    no permission in the admin.
    """

    key: ApiKey

    is_authenticated: ClassVar[bool] = True
    is_anonymous: ClassVar[bool] = False
    is_active: ClassVar[bool] = True
    is_staff: ClassVar[bool] = False
    is_superuser: ClassVar[bool] = False

    @property
    def owner(self) -> Owner:
        """For whom the key acts."""
        return self.key.owner

    @property
    def pk(self) -> UUID:
        """The owner's id, by which requests are counted."""
        return self.key.owner.pk

    def get_username(self) -> str:
        """Return the owner's name."""
        return self.key.owner.name

    def has_perm(self, perm: str, obj: object = None) -> bool:
        """Refuse: permissions belong to accounts."""
        return False

    def has_perms(self, perm_list: Collection[str], obj: object = None) -> bool:
        """Refuse unless nothing is asked."""
        return not perm_list

    def has_module_perms(self, app_label: str) -> bool:
        """Refuse: permissions belong to accounts."""
        return False

    def __str__(self) -> str:
        """Show the owner's name."""
        return self.key.owner.name


def owner_of(request: Request) -> Owner:
    """Return for whom the authenticated request acts.

    A person gets an owner of their own on first use, or the one that an operator
    bound to the account.

    Raises:
        NotAuthenticated: nobody is known to ask.
    """
    if isinstance(request.auth, ApiKey):
        return request.auth.owner
    if not isinstance(request.user, AbstractBaseUser):
        raise NotAuthenticated
    return owner_of_user(request.user)


def owner_of_user(user: AbstractBaseUser) -> Owner:
    """Return the owner that the account acts as; made when there is none."""
    owner = Owner.objects.filter(user_id=user.pk).first()
    return owner or _make_owner(user)


def _make_owner(user: AbstractBaseUser) -> Owner:
    # A name that is taken belongs to somebody else's keys: an account must not
    # come to see their tasks by being called the same.
    wanted = user.get_username()[:80]
    with transaction.atomic():
        is_taken = Owner.objects.filter(name=wanted).exists()
        name = f"{wanted} (account {user.pk})" if is_taken else wanted
        return owners.make(name=name, user=user)


def scopes_of(request: Request) -> frozenset[str] | None:
    """Return the scopes a key is narrowed to, or nothing for full access."""
    if isinstance(request.auth, ApiKey) and request.auth.scopes:
        return frozenset(request.auth.scopes)
    return None


def name_of(request: Request) -> str:
    """Return who asks, as a record may name them: a key's prefix or an account."""
    if isinstance(request.auth, ApiKey):
        return request.auth.prefix
    return str(request.user.get_username())
