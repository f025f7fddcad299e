"""Django's entry to this package."""

from django.apps import AppConfig


class ArmsConfig(AppConfig):
    """Settle the app's names."""

    name = "arms"
    verbose_name = "Arms and knowledge"
    default_auto_field = "django.db.models.BigAutoField"
