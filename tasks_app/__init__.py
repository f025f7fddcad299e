"""The life of a task: submit, screen, plan, work, judge, result."""
