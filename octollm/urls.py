"""All addresses, at the root as handed over; none of the API's ends in a slash."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularSwaggerSplitView

from octollm import views

ICON = f"{settings.STATIC_URL}octollm/icon.svg"

urlpatterns = [
    path("", views.RootView.as_view(), name="root"),
    path("health", views.HealthView.as_view(), name="health"),
    path("ready", views.ReadyView.as_view(), name="ready"),
    path("metrics", views.MetricsView.as_view(), name="metrics"),
    path("schema", views.SchemaView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("admin/", admin.site.urls),
    # Where browsers look on every page that names none.
    path("favicon.ico", RedirectView.as_view(url=ICON), name="favicon"),
    path("reflex/", include("reflex.urls")),
    path("", include("arms.urls")),
    path("", include("tasks_app.urls")),
]

handler400 = "octollm.error_pages.bad_request"
handler403 = "octollm.error_pages.permission_denied"
handler404 = "octollm.error_pages.not_found"
handler500 = "octollm.error_pages.server_error"
