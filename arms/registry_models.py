"""The registry's rows, and what in-process arms did under a request id."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from octollm.ids import new_id

MAX_WEIGHT = 100
MAX_CONCURRENCY = 1_000
# No arm's name: an operator's word that none stands in.
NOBODY = "-"


class RegisteredArm(models.Model):
    """An arm's catalogue entry as the workers that run or reach it wrote it down.

    Attributes:
        sees: the types of personal data that the arm asks for.
        may_see: those of them that the operator lets an arm elsewhere have.
        has_store: whether an instance can say what it did under a request id.
        shares_store: whether every instance can say it of all others.
        concurrency: how many steps each instance takes at once, as the arm says;
            NULL: no limit.
        limit: what the operator says of that instead; NULL: what the arm says.
        grants: tools, commands and hosts that its steps may ask for, by kind.
        fallback: the arm that is taken while this one is away, as the arm says; empty:
            none.
        stand_in: what the operator says of that instead; empty: what the arm says.
    """

    name = models.CharField(primary_key=True, max_length=64)
    version = models.CharField()
    description = models.CharField(default="")
    capabilities = models.JSONField(default=list)
    sees = models.JSONField(default=list)
    is_repeatable = models.BooleanField(default=False)
    has_store = models.BooleanField(default=True, db_default=True)
    shares_store = models.BooleanField(default=False, db_default=False)
    synonyms = models.JSONField(default=list, db_default=[])
    queue = models.CharField(default="default")
    may_see = models.JSONField(default=list, db_default=[], blank=True)
    concurrency = models.IntegerField(null=True, blank=True)
    limit = models.IntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_CONCURRENCY)],
        help_text="How many steps each instance takes at once; empty: what it says.",
    )
    grants = models.JSONField(default=dict, db_default={}, blank=True)
    fallback = models.CharField(default="", db_default="", blank=True, max_length=64)
    stand_in = models.CharField(default="", db_default="", blank=True, max_length=64)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        """Name the table, and what the database guards."""

        db_table = "arms"
        ordering = ["name"]
        verbose_name = "arm"
        constraints = [
            models.CheckConstraint(
                name="arms_limit",
                condition=Q(limit__isnull=True)
                | Q(limit__gte=1, limit__lte=MAX_CONCURRENCY),
            )
        ]

    def __str__(self) -> str:
        """Show name and version."""
        return f"{self.name} {self.version}"

    @property
    def places(self) -> int | None:
        """How many steps each instance takes at once; nothing: no limit."""
        return self.limit or self.concurrency


class ArmInstance(models.Model):
    """One place where an arm runs: inside the workers, or at an address.

    Attributes:
        location: ``in-process``, or a URL.
        weight: its share of the calls beside those of the others.
        since: when it came into its state.
        token: the bearer token that it wants, encrypted with the settings' vault keys.
        version: that of the entry which was last fetched from it.
        entry_hash: of that entry, so that a change is noticed.
        rises: how many checks in a row went well, as far as that matters.
        falls: how many in a row went wrong, checks and calls.
        latency_ms: of checks, as a moving average.
        checked_at: when a probe or self-check last told something.
        probe_at: when the next one is due.
        heartbeat_at: when it last said that it is there; NULL: it needs not.
        drains_itself: whether it drains because it said so, and not an operator; who
            lets it drain for another reason takes this back.
    """

    class State(models.TextChoices):
        """What is known of it, or what an operator wants."""

        STARTING = "starting"  # not found well yet
        HEALTHY = "healthy"
        DEGRADED = "degraded"  # says so itself, or has begun to fail
        DOWN = "down"  # failed several times in a row
        DRAINING = "draining"  # gets nothing new, answers for what it has
        DISABLED = "disabled"  # is left alone until an operator enables it

    class Source(models.TextChoices):
        """Who says that it exists."""

        IN_PROCESS = "in-process"
        SETTINGS = "settings"  # OCTOLLM_REMOTE_ARMS
        ANNOUNCED = "announced"  # itself, by POST /arm-instances
        OPERATOR = "operator"  # somebody in the admin

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    arm = models.ForeignKey(
        RegisteredArm, on_delete=models.CASCADE, related_name="instances"
    )
    location = models.CharField(default="in-process", max_length=500)
    source = models.CharField(
        choices=Source, default=Source.IN_PROCESS, db_default=Source.IN_PROCESS
    )
    weight = models.IntegerField(
        default=10,
        db_default=10,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_WEIGHT)],
        help_text="Its share of the calls beside the others': 20 gets twice as many as 10.",
    )
    state = models.CharField(choices=State, default=State.STARTING)
    since = models.DateTimeField(db_default=Now())
    detail = models.CharField(default="", blank=True)
    token = models.TextField(default="", db_default="", blank=True, editable=False)
    version = models.CharField(default="", db_default="", blank=True)
    entry_hash = models.CharField(default="", db_default="", blank=True)
    rises = models.IntegerField(default=0, db_default=0)
    falls = models.IntegerField(default=0, db_default=0)
    latency_ms = models.FloatField(null=True)
    checked_at = models.DateTimeField(null=True)
    probe_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(null=True)
    drains_itself = models.BooleanField(default=False, db_default=False)

    class Meta:
        """One row per arm and place."""

        db_table = "arm_instances"
        ordering = ["arm", "location"]
        constraints = [
            models.UniqueConstraint(
                name="arm_instances_place", fields=["arm", "location"]
            ),
            models.CheckConstraint(
                name="arm_instances_state",
                condition=Q(
                    state__in=(
                        *("starting", "healthy", "degraded"),
                        *("down", "draining", "disabled"),
                    )
                ),
            ),
            models.CheckConstraint(
                name="arm_instances_weight",
                condition=Q(weight__gte=1, weight__lte=MAX_WEIGHT),
            ),
        ]

    def __str__(self) -> str:
        """Show where and how it is."""
        return f"{self.arm_id} {self.location}: {self.state}"


class HealthCheck(models.Model):
    """What one probe, self-check or failed call said of an instance."""

    class Source(models.TextChoices):
        """What told it."""

        PROBE = "probe"
        SELF_CHECK = "self-check"
        CALL = "call"  # of a step; only failures are kept

    id = models.BigAutoField(primary_key=True)
    instance = models.ForeignKey(
        ArmInstance, on_delete=models.CASCADE, related_name="checks", db_index=False
    )
    at = models.DateTimeField(db_default=Now())
    source = models.CharField(choices=Source)
    is_healthy = models.BooleanField()
    latency_ms = models.FloatField(null=True)
    detail = models.CharField(default="", db_default="", blank=True)

    class Meta:
        """Name the table, its indexes and the order of the list."""

        db_table = "health_checks"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["instance", "-at"], name="idx_health_checks_instance"),
            models.Index(fields=["at"], name="idx_health_checks_age"),
        ]

    def __str__(self) -> str:
        """Show when and how it was."""
        return f"{self.at}: {'well' if self.is_healthy else self.detail}"


class ServedExecution(models.Model):
    """What an arm under ``octollm arm serve`` does, or did, under a request id.

    It holds what the arm was shown and said, revealed, so ``outcome`` is encrypted
    with the settings' vault keys.

    Attributes:
        scope_id: the task.
        life: the process that does it, or did.
        outcome: the reply, or why there is none; empty while it runs.
        renewed_at: when its process last said that it is at it.
    """

    class State(models.TextChoices):
        """How far it is."""

        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"  # ended without a reply, and must not be done again

    request_id = models.UUIDField(primary_key=True)
    scope_id = models.UUIDField()
    arm = models.CharField(max_length=64)
    life = models.UUIDField()
    state = models.CharField(choices=State, default=State.RUNNING)
    outcome = models.TextField(default="", db_default="")
    renewed_at = models.DateTimeField(db_default=Now())

    class Meta:
        """Name the table, and what the database guards."""

        db_table = "served_executions"
        indexes = [
            models.Index(fields=["scope_id"], name="idx_served_executions_scope"),
            models.Index(fields=["renewed_at"], name="idx_served_executions_age"),
        ]
        constraints = [
            models.CheckConstraint(
                name="served_executions_state",
                condition=Q(state="running", outcome="")
                | (Q(state__in=("done", "failed")) & ~Q(outcome="")),
            )
        ]

    def __str__(self) -> str:
        """Show the arm, the request and how far it is."""
        return f"{self.arm} {self.request_id}: {self.state}"


class Execution(models.Model):
    """What an in-process arm did under a request id; the reply is concealed."""

    request_id = models.UUIDField(primary_key=True)
    scope_id = models.UUIDField()
    arm = models.CharField()
    reply = models.JSONField()
    taint = models.JSONField(default=list)
    finished_at = models.DateTimeField(db_default=Now())

    class Meta:
        """Name the table."""

        db_table = "executions"
        indexes = [
            models.Index(fields=["scope_id"], name="idx_executions_scope"),
            models.Index(fields=["finished_at"], name="idx_executions_age"),
        ]

    def __str__(self) -> str:
        """Show the arm and the request."""
        return f"{self.arm} {self.request_id}"
