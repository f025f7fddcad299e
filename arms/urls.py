"""Addresses of arms and documents."""

from django.urls import path

from arms import announcing_views, registry_views, views

urlpatterns = [
    path("arms", registry_views.ArmListView.as_view(), name="arms"),
    path("arms/<str:name>", registry_views.ArmView.as_view(), name="arm"),
    path(
        "arms/<str:name>/health",
        registry_views.ArmHealthView.as_view(),
        name="arm-health",
    ),
    path(
        "arm-instances",
        announcing_views.ArmInstanceListView.as_view(),
        name="arm-instances",
    ),
    path("documents", views.DocumentListView.as_view(), name="documents"),
    path("documents/<uuid:document_id>", views.DocumentView.as_view(), name="document"),
]
