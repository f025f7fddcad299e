"""The planner arm: a goal becomes a plan."""
