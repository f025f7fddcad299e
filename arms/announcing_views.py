"""``POST /arm-instances``: an instance of an arm says that it is there."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from arms.announcing import HEARTBEAT_S, hear
from arms.entries import NAME
from arms.providers import plain_key, plain_url
from arms.registration import Announcement
from arms.registry_models import MAX_WEIGHT, ArmInstance
from octollm.access.models import ApiKey
from octollm.serializers import StrictSerializer, query_of

# The scope of a key that may announce any arm; of one arm it is `arm:NAME`.
ANY_ARM = "arms"
MAX_URL_LENGTH = MAX_TOKEN_LENGTH = 500


class MayAnnounce(BasePermission):
    """Let in staff, and keys that say that they may announce.

    A full key of an owner is not enough: who announces an instance is sent the steps
    of all owners.
    """

    message = "Only a key with the scope “arms”, or that of the arm, may announce it."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Say whether the caller may announce any arm at all."""
        if not getattr(request.user, "is_authenticated", False):
            return False
        scopes = _scopes(request)
        return scopes is None or any(
            scope == ANY_ARM or scope.startswith("arm:") for scope in scopes
        )


class AnnouncementSerializer(StrictSerializer):
    """What an instance says of itself."""

    arm = serializers.RegexField(NAME)
    url = serializers.CharField(
        max_length=MAX_URL_LENGTH, help_text="Where workers reach it: http or https."
    )
    token = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        max_length=MAX_TOKEN_LENGTH,
        help_text="The bearer token that workers must show; kept encrypted.",
    )
    weight = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        min_value=1,
        max_value=MAX_WEIGHT,
        help_text="Its share of the calls beside the others'; without it as it was.",
    )
    state = serializers.ChoiceField(
        choices=["serving", "draining", "gone"], required=False, default="serving"
    )

    def validate_url(self, url: str) -> str:
        """Refuse what is no plain address; return it without a slash at its end."""
        return _plain(plain_url, url).rstrip("/")

    def validate_token(self, token: str) -> str:
        """Refuse what cannot stand in a header."""
        return _plain(plain_key, token)


class AnnouncedSerializer(serializers.Serializer[Any]):
    """What became of it."""

    instance_id = serializers.UUIDField(
        allow_null=True, help_text="None when nothing is left of the instance."
    )
    state = serializers.ChoiceField(choices=[*ArmInstance.State.values, "gone"])
    heartbeat_s = serializers.FloatField(help_text="Announce it as often as this.")


class ArmInstanceListView(APIView):
    """Hear what instances of arms say of themselves."""

    permission_classes = (MayAnnounce,)

    @extend_schema(request=AnnouncementSerializer, responses=AnnouncedSerializer)
    def post(self, request: Request) -> Response:
        """Enter an instance or renew it; the same again is its heartbeat."""
        query_of(request)
        serializer = AnnouncementSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = dict(serializer.validated_data)
        scopes, wish = _scopes(request), given.pop("state")
        if scopes is not None and not scopes & {ANY_ARM, f"arm:{given['arm']}"}:
            raise PermissionDenied(MayAnnounce.message)
        announced = hear(
            Announcement(source=ArmInstance.Source.ANNOUNCED, **given), wish
        )
        return Response(
            {
                "instance_id": announced.instance_id,
                "state": announced.state,
                "heartbeat_s": HEARTBEAT_S,
            }
        )


def _scopes(request: Request) -> frozenset[str] | None:
    """Return a key's scopes, none for a full one; nothing for staff."""
    if isinstance(request.auth, ApiKey):
        return frozenset(request.auth.scopes)
    return None


def _plain(check: Any, text: str) -> str:
    try:
        return str(check(text))
    except ValueError as error:
        raise serializers.ValidationError(f"It {error}.") from None
