"""Django's entry to this package."""

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """Settle the app's names and register what the floor asks of it."""

    name = "tasks_app"
    verbose_name = "Tasks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have scrapes ask how much work is open."""
        from octollm import metrics

        metrics.register_collector("tasks", "tasks_app.gauges.collect")
