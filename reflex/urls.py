"""Addresses of the reflex, below /reflex/ here and at the root of its own process."""

from django.urls import path

from reflex import views

app_name = "reflex"
urlpatterns = [
    path("process", views.ProcessView.as_view(), name="process"),
    path("health", views.HealthView.as_view(), name="health"),
    path("ready", views.ReadyView.as_view(), name="ready"),
    path("metrics", views.MetricsView.as_view(), name="metrics"),
]
