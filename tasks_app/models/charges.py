"""The ledger's rows: one per paid call."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from octollm.ids import new_id
from tasks_app.models.steps import Step
from tasks_app.models.tasks import Task


class Charge(models.Model):
    """A call that costs dollars or tokens, from its reservation to its settlement.

    Amounts are integer nano-dollars: a call of $0.000003 is not 0. A row that was
    answered keeps the reply, so that a step that is resumed pays for it once.

    Attributes:
        purpose: ``planning``, ``judging``, ``coding`` or ``analysis``.
        provider: the name that the settings give it.
        rung: how strictly the answer's form was asked for: ``json_schema``,
            ``json_object`` or ``text``.
        nth: the call's number among the equal calls of its attempt; NULL: written by
            a version that did not count.
        replay_count: how often a resumed step took the reply instead of asking.
        held_nano: the worst case that was reserved, at the dearest tier.
        settled_nano: what was booked, 0 while held or when released.
        cached_tokens: how many of ``input_tokens`` the provider had in its cache.
        is_estimated: the provider did not say what was used, or nothing believable.
        price_input: USD per million tokens that came from no cache; of the dearest
            tier while held, then of the one that the call fell in. So are the others.
        price_cached: for cached input; NULL: that of other input.
        price_source: ``settings``, ``private address``, ``unpriced`` or the list and
            its provider.
        price_version: of the list.
        latency_s: from sending to the end of the answer; NULL: no answer.
    """

    class State(models.TextChoices):
        """Where the money is."""

        HELD = "held"  # reserved at worst case, call under way
        SETTLED = "settled"  # booked at what was used
        PRESUMED = "presumed"  # reply lost: booked at worst case
        RELEASED = "released"  # provably never reached the provider
        CORRECTED = "corrected"  # booked anew: the true figure came later

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="charges")
    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="charges")
    attempt = models.IntegerField()
    purpose = models.CharField()
    provider = models.CharField(default="", db_default="", blank=True)
    model = models.CharField()
    rung = models.CharField(default="", db_default="", blank=True)
    request_hash = models.CharField(max_length=64)
    nth = models.IntegerField(null=True)
    replay_count = models.IntegerField(default=0, db_default=0)
    state = models.CharField(choices=State, default=State.HELD)
    held_nano = models.BigIntegerField()
    held_tokens = models.BigIntegerField()
    settled_nano = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    is_estimated = models.BooleanField(default=False)
    price_input = models.DecimalField(max_digits=14, decimal_places=6)
    price_output = models.DecimalField(max_digits=14, decimal_places=6)
    price_cached = models.DecimalField(max_digits=14, decimal_places=6, null=True)
    price_source = models.CharField()
    price_version = models.CharField(default="", blank=True)
    latency_s = models.FloatField(null=True)
    reply = models.TextField(null=True, editable=False)  # noqa: DJ001  # NULL: no reply
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    settled_at = models.DateTimeField(null=True)

    class Meta:
        """What the database guards."""

        db_table = "charges"
        ordering = ["task", "created_at", "id"]
        constraints = [
            models.CheckConstraint(
                name="charges_state",
                condition=Q(state="held", settled_at__isnull=True)
                | Q(
                    state__in=("settled", "presumed", "released", "corrected"),
                    settled_at__isnull=False,
                ),
            ),
            models.CheckConstraint(
                name="charges_amounts",
                condition=Q(held_nano__gte=0, held_tokens__gte=0, settled_nano__gte=0),
            ),
            models.UniqueConstraint(
                name="charges_one_reply",
                fields=["step", "request_hash", "nth"],
                condition=Q(reply__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        """Show the model and the state."""
        return f"{self.model} {self.state}"

    @property
    def used_tokens(self) -> int:
        """What was booked of tokens, 0 while held or when released."""
        return self.input_tokens + self.output_tokens

    @property
    def is_overrun(self) -> bool:
        """Whether more was booked than had been held."""
        return self.settled_nano > self.held_nano or self.used_tokens > self.held_tokens
