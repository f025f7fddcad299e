"""The description of the API: OpenAPI 3.1 with our one shape of errors."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction
from rest_framework import serializers


class FaultSerializer(serializers.Serializer[Any]):
    """One fault of a request."""

    pointer = serializers.CharField(
        allow_null=True, help_text="JSON pointer into the body; null: not in the body."
    )
    parameter = serializers.CharField(
        required=False, help_text="Which parameter of the address."
    )
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """A problem document (RFC 9457)."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    instance = serializers.CharField()
    code = serializers.CharField(help_text="Stable; what programs decide by.")
    request_id = serializers.CharField(help_text="The same as in X-Request-ID.")
    errors = FaultSerializer(many=True)  # type: ignore[assignment] # DRF's own name
    rule_ids = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="With unsafe_content: the rules that matched.",
    )
    violations = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="With invalid_plan: one sentence per broken rule, its id first.",
    )
    month = serializers.CharField(
        required=False, help_text="With owner_budget_exceeded: such as 2026-11, UTC."
    )
    left_usd = serializers.DecimalField(
        max_digits=18,
        decimal_places=9,
        required=False,
        help_text="With owner_budget_exceeded: what is left of the owner's cap.",
    )
    links = serializers.DictField(
        child=serializers.CharField(),
        required=False,
        help_text="Of the planner: the task that makes the plan.",
    )


class Schema(AutoSchema):
    """Describe a view, and add to each operation the problems it may answer."""

    problem_media_type: ClassVar[str] = "application/problem+json"

    def _get_response_bodies(self, direction: Direction = "response") -> dict[str, Any]:
        responses: dict[str, Any] = super()._get_response_bodies(direction)
        if direction == "response":
            for code in self._problem_codes():
                if code not in responses:
                    responses[code] = self._problem(code)
        return responses

    def _problem(self, code: str) -> Any:
        return self._get_response_for_code(  # type: ignore[no-untyped-call] # has no types
            ProblemSerializer, code, [self.problem_media_type]
        )

    def _problem_codes(self) -> list[str]:
        codes = {"500"}
        if any(self.get_auth()) and {} not in self.get_auth():
            codes |= {"401", "403", "503"}
        if "{" in self.path:
            codes.add("404")
        if self.method in ("POST", "PUT", "PATCH"):
            codes |= {"400", "411", "413", "415"}
        elif self._is_list_view():
            codes.add("400")
        return sorted(codes)


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call] # has no types
    """Describe ``Authorization: Bearer``."""

    target_class = "octollm.access.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        """Return the security scheme."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "octo_…"}


class StaffSessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call] # has no types
    """Describe the session of the admin."""

    target_class = "octollm.access.authentication.StaffSessionAuthentication"
    name = "staffSession"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        """Return the security scheme."""
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
