"""Many instances at once, of which most are unwell, each in its own way.

The short form of ``make bench-arms``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from arms.registry_models import ArmInstance
from octollm.resilience.models import Breaker, Leader
from tasks_app.models import Attempt, Task
from tests.figures import note
from tests.flow.conftest import System
from tests.load.arm_rig import ArmRig, outcomes, run, tasks_of, wait_until_known
from tests.waiting import wait_until

COUNT = 40


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArmRig]:
    made = ArmRig(tmp_path_factory.mktemp("rig"))
    with made.running():
        yield made


@pytest.fixture
def system(system: System, rig: ArmRig) -> System:
    """Have two workers that know the arms and look after them often."""
    system.environment |= rig.setting() | {"OCTOLLM_PROBE_INTERVAL_S": "1"}
    for _ in range(2):
        system.start_worker()
    return system


@pytest.mark.usefixtures("system")
def test_every_task_ends_rightly_while_most_instances_are_unwell(rig: ArmRig):
    wait_until_known(rig)
    rig.make_trouble()

    first = tasks_of("trouble", COUNT // 2, seconds=20)
    run(first, timeout_s=90)
    tasks = tasks_of("trouble", COUNT, seconds=20)
    took_s = run(tasks, timeout_s=90)

    ended = outcomes(tasks)
    counts = rig.effect_counts("trouble")
    completed = Task.objects.filter(
        pk__in=[task.pk for task in tasks], status="completed"
    )
    note(f"{COUNT} tasks beside six kinds of trouble: {took_s:.1f} s, {dict(ended)}")
    # Who lost a reply of an instance that cannot say what it did says so.
    rightly = {"completed", "failed: arm_unavailable", "failed: arm_failed"}
    assert set(ended) | set(outcomes(first)) <= rightly
    # On a busy machine it takes longer until the unwell ones are known.
    assert ended["completed"] >= COUNT * 0.5
    assert max(counts.values()) == 1
    for task_id in completed.values_list("pk", flat=True):
        assert counts[str(task_id), "s0"] == counts[str(task_id), "s1"] == 1
    reasons = Attempt.objects.filter(step__task__in=tasks, step__kind="work")
    assert reasons.filter(reason__contains="drawn of").exists()


@pytest.mark.usefixtures("system")
def test_who_looks_after_arms_is_one_of_the_workers(rig: ArmRig):
    wait_until(lambda: Leader.objects.filter(name="prober").exists(), timeout_s=30)
    hanging = next(url for url, kind in rig.kinds.items() if kind == "hanging")

    wait_until(
        lambda: ArmInstance.objects.get(location=hanging).state == "down", timeout_s=30
    )

    assert not Breaker.objects.filter(name__startswith="arm:calm").exists()
