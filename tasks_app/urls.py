"""Addresses of tasks."""

from django.urls import path

from tasks_app import views

urlpatterns = [
    path("submit", views.SubmitView.as_view(), name="submit"),
    path("tasks", views.TaskListView.as_view(), name="tasks"),
    path("tasks/<uuid:task_id>", views.TaskView.as_view(), name="task"),
    path(
        "tasks/<uuid:task_id>/results",
        views.ResultsView.as_view(),
        name="task-results",
    ),
    path("tasks/<uuid:task_id>/plan", views.PlanView.as_view(), name="task-plan"),
    path("tasks/<uuid:task_id>/events", views.EventsView.as_view(), name="task-events"),
    path("tasks/<uuid:task_id>/cancel", views.CancelView.as_view(), name="task-cancel"),
]
