"""``octollm arm serve``: one arm of ours as an HTTP service of its own."""
