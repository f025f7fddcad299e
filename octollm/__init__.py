"""OctoLLM: a goal in plain language, planned, run and judged within a budget.

Importing this package imports no Django: the Python client and ``octollm up``
must start without it.
"""

__version__ = "0.1.0"
