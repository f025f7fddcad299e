"""Django's entry to this package."""

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """Settle the app's names and register what the floor asks of it."""

    name = "tasks_app"
    verbose_name = "Tasks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Tell others what they ask of tasks: scrapes, switches, planner, vault."""
        from octollm import metrics
        from octollm.resilience import switches
        from planner import memory, observed
        from reflex import scopes

        switches.register_follower("tasks_app.halting.follow")
        metrics.register_collector("tasks", "tasks_app.gauges.collect")
        observed.register("tasks_app.experience.observations")
        memory.register("tasks_app.experience.remembered_plans")
        scopes.register("tasks_app.deletion.is_scope_open")
