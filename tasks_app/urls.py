"""Addresses of tasks."""

from django.urls import path

from tasks_app import approval_views, arm_views, run_views, views

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
    path("tasks/<uuid:task_id>/ledger", views.LedgerView.as_view(), name="task-ledger"),
    path("tasks/<uuid:task_id>/cancel", views.CancelView.as_view(), name="task-cancel"),
    path(
        "tasks/<uuid:task_id>/budget",
        run_views.BudgetView.as_view(),
        name="task-budget",
    ),
    path(
        "tasks/<uuid:task_id>/retry", run_views.RetryView.as_view(), name="task-retry"
    ),
    path("tasks/<uuid:task_id>/fork", run_views.ForkView.as_view(), name="task-fork"),
    path(
        "tasks/<uuid:task_id>/compare/<uuid:other_id>",
        run_views.CompareView.as_view(),
        name="task-compare",
    ),
    path(
        "tasks/<uuid:task_id>/approve",
        approval_views.ApproveView.as_view(),
        name="task-approve",
    ),
    path(
        "tasks/<uuid:task_id>/reject",
        approval_views.RejectView.as_view(),
        name="task-reject",
    ),
    # Here and not with the arms: a plan for a caller is a task of theirs.
    path(
        "arms/planner/execute",
        arm_views.PlannerExecuteView.as_view(),
        name="planner-execute",
    ),
    path(
        "arms/<str:name>/execute",
        arm_views.ArmExecuteView.as_view(),
        name="arm-execute",
    ),
]
