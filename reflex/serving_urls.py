"""The addresses of a process that only screens: at its root, and below /reflex/."""

from django.urls import include, path

urlpatterns = [
    path("", include("reflex.urls")),
    # Where the web process has them, for callers who move.
    path("reflex/", include(("reflex.urls", "reflex"), namespace="as-in-web")),
]

handler400 = "octollm.error_pages.bad_request"
handler403 = "octollm.error_pages.permission_denied"
handler404 = "octollm.error_pages.not_found"
handler500 = "octollm.error_pages.server_error"
