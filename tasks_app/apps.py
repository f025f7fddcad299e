"""Django's entry to this package."""

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """Settle the app's names."""

    name = "tasks_app"
    verbose_name = "Tasks"
    default_auto_field = "django.db.models.BigAutoField"
