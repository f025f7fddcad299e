"""Who may use the system: owners, and the API keys that act for them."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from octollm.ids import new_id

MAX_RUNNING = 1_000


class Owner(models.Model):
    """Whose tasks and documents they are; nobody sees another owner's.

    ``access/owners.py`` changes the last two of these.

    Attributes:
        max_running: how many steps may run at once; NULL: no limit. Its slots follow.
        stopped_at: since when an operator has the owner stopped: nothing of it is
            started, no submission taken. Who and why is in ``switches``; this copy
            costs no query.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100, unique=True)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="owner",
        help_text="The account that acts as this owner in the browser.",
    )
    is_active = models.BooleanField(default=True, db_default=True)
    monthly_cap_usd = models.DecimalField(
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="USD that tasks submitted in one month (UTC) may take; empty: no cap.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    max_running = models.IntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_RUNNING)],
        help_text="How many steps may run at once; empty: no limit.",
    )
    stopped_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        """Name the table, its index, and what the database guards."""

        app_label = "octollm"
        db_table = "owners"
        ordering = ["name"]
        indexes = [
            # Each claim asks for them; there are few or none.
            models.Index(
                fields=["id"],
                name="idx_owners_stopped",
                condition=Q(stopped_at__isnull=False),
            )
        ]
        constraints = [
            models.CheckConstraint(
                name="owners_cap",
                condition=Q(monthly_cap_usd__isnull=True) | Q(monthly_cap_usd__gte=0),
            ),
            models.CheckConstraint(
                name="owners_max_running",
                condition=Q(max_running__isnull=True)
                | Q(max_running__gte=1, max_running__lte=MAX_RUNNING),
            ),
        ]

    def __str__(self) -> str:
        """Show the name."""
        return self.name


class ApiKey(models.Model):
    """A bearer token; only its SHA-256 is stored.

    The token is 256 random bits, so a plain hash cannot be searched; ``prefix``
    is what people recognise it by.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(Owner, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, editable=False)
    sha256 = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        """Name the table."""

        app_label = "octollm"
        db_table = "api_keys"
        ordering = ["-created_at"]
        verbose_name = "API key"

    def __str__(self) -> str:
        """Show what people recognise the key by."""
        return f"{self.name} ({self.prefix}…)"

    @property
    def state(self) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at:
            return "revoked"
        is_over = self.expires_at is not None and self.expires_at <= timezone.now()
        return "expired" if is_over else "active"
