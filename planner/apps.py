"""Django's entry to this package."""

from django.apps import AppConfig


class PlannerConfig(AppConfig):
    """Settle the app's names."""

    name = "planner"
    verbose_name = "Planner"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks of this package's settings."""
        from planner import checks  # noqa: F401  # importing registers them
