"""Print which parallel plans are refused though what they really use would fit.

Of those that do not fit it tells which were stopped too late.

``python -m tests.load.budgets``: the real ledger on private engines, four worker
threads, a model on a socket that counts tokens as a real one does. Each step sends
the task's whole context and may have 1,000 tokens of answer; it gets 150.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django
from django.conf import settings
from django.db import connections
from django.test.utils import setup_databases, teardown_databases

from tests.fakes import Answer, FakeModel, Received, completion

ANSWER_TOKENS = 150
SENTENCES = (
    "Great phone, I love it; the camera is superb and the battery lasts two days. "
    "The screen broke after a week and nobody answered my mails. "
    "Delivery took forever, but the colour is lovely and my daughter adores it! "
)
RECORD = (
    '{"id": 4711, "name": "Ann", "score": 0.2541, "tags": ["a", "b"], "ok": true}, '
)
# Bytes to a token by the tokenizer of GPT-4o, counted once on these texts.
TEXTS = {"prose": (SENTENCES, 4.3), "JSON": (RECORD, 2.2)}
SIZES_KB = (2, 5, 8, 11, 14, 17, 20, 25, 30, 35, 40, 45, 49)
STEPS = (2, 3, 4, 5)
# Tokens, and USD per million tokens of input and output.
BUDGETS = ((10_000, 0, 0), (50_000, 0, 0), (100_000, 15, 75))


class CountingModel(FakeModel):
    """Answers shortly, and counts its input as its tokenizer would."""

    bytes_per_token = 4.0

    def take(self, received: Received) -> Answer:
        super().take(received)
        sent = "".join(each["content"] for each in received.body["messages"])
        prompt = 4 + round(len(sent) / self.bytes_per_token)
        usage = {"prompt_tokens": prompt, "completion_tokens": ANSWER_TOKENS}
        return completion("Fine.", usage=usage)


def main() -> None:
    """Start everything, run the plans, print."""
    django.setup()
    logging.disable()
    from tests.engines import running_engines

    with running_engines():
        databases = setup_databases(verbosity=0, interactive=False)
        try:
            with CountingModel() as model:
                settings.OCTOLLM_LLM_BASE_URL = model.base_url
                settings.OCTOLLM_LLM_MODEL = "counting"
                for name in TEXTS:
                    for budget in BUDGETS:
                        _print_table(model, name, *budget)
        finally:
            connections.close_all()
            teardown_databases(databases, verbosity=0)


def _print_table(
    model: CountingModel, name: str, tokens: int, per_input: int, per_output: int
) -> None:
    pattern, model.bytes_per_token = TEXTS[name]
    settings.OCTOLLM_LLM_PRICE_INPUT = Decimal(per_input)
    settings.OCTOLLM_LLM_PRICE_OUTPUT = Decimal(per_output)
    print(f"\n{name}, {tokens} tokens, $1.00 at ${per_input} and ${per_output}")
    print("KB of context  " + "".join(f"{count} steps  " for count in STEPS))
    found = []
    for size in SIZES_KB:
        text = (pattern * (size * 1024 // len(pattern) + 1))[: size * 1024]
        prompt = 4 + round(len(text) / model.bytes_per_token)
        usd = (prompt * per_input + ANSWER_TOKENS * per_output) / 1e6
        row = []
        for count in STEPS:
            fits = count * (prompt + ANSWER_TOKENS) <= tokens and count * usd <= 1
            row.append(_outcome(text, count, tokens, fits=fits))
        print(f"{size:>13}  " + "".join(f"{word:<9}" for word in row))
        found += row
    fitting = [word for word in found if word in ("done", "REFUSED")]
    print(
        f"refused: {fitting.count('REFUSED')} of {len(fitting)} that fit; beyond the "
        f"budget: {found.count('OVER')} of {len(found) - len(fitting)} that do not"
    )


def _outcome(text: str, count: int, tokens: int, *, fits: bool) -> str:
    """Run one plan to its end and say how that was.

    What does not fit should stop within the budget.
    """
    from tasks_app.models import Task
    from tests.builders import make_planned_task, make_step

    def asking(number: int) -> Any:
        given = {"texts": [{"$from": "context.text"}], "max_output_tokens": 1000}
        step_id = f"s{number}"
        return make_step(step_id, arm="asker", capability="ask", input=given)

    steps = [asking(number) for number in range(count)]
    task = make_planned_task(*steps, context={"text": text}, max_tokens=tokens)
    is_over = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(_work, is_over) for _ in range(4)]
        while not Task.objects.get(pk=task.pk).is_terminal:
            time.sleep(0.01)
        is_over.set()
        for each in working:
            each.result()
    ended = Task.objects.get(pk=task.pk)
    is_over_cap = ended.spent_tokens > tokens or ended.spent_usd > ended.max_cost_usd
    if not fits:
        return "OVER" if is_over_cap else "-"
    return "done" if ended.status == Task.Status.COMPLETED else "REFUSED"


def _work(is_over: threading.Event) -> None:
    """Run ready steps, as a worker's thread does."""
    from tasks_app.claims import claim_next
    from tasks_app.pipeline import run_step

    while not is_over.is_set():
        claim = claim_next(("default",), worker="budgets")
        if claim is not None:
            run_step(claim)
        time.sleep(0.005)
    connections.close_all()


if __name__ == "__main__":
    main()
