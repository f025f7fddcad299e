"""Django's entry to this package."""

from django.apps import AppConfig


class ReflexConfig(AppConfig):
    """Settle the app's names."""

    name = "reflex"
    verbose_name = "Reflex layer"
    default_auto_field = "django.db.models.BigAutoField"
