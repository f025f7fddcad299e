"""The rounds of a run: plan versions that were judged, and which of them is best."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from django.db.models import Q

from octollm.types import JSONObject, JSONValue
from reflex.fingerprints import fingerprint
from tasks_app.models import Plan, Task, Verdict
from tasks_app.results import Assembly, Finding, assemble
from tasks_app.steps_read import Draft, draft_result


@dataclass(frozen=True, kw_only=True)
class Round:
    """One plan version and what the judge found of it, in the order of criteria."""

    version: int
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> Counter[str]:
        """How many findings there are of each verdict."""
        return Counter(finding.verdict for finding in self.findings)

    @property
    def rank(self) -> tuple[int, int, int]:
        """Higher is better: most met, then fewest not met, then the later one."""
        return self.counts["met"], -self.counts["not_met"], self.version

    def to_json(self) -> JSONObject:
        """Return the counts under the version's number."""
        counted = {
            verdict: self.counts[verdict]
            for verdict in ("met", "not_met", "not_checked")
        }
        return {"plan_version": self.version, **counted}


def judged(task: Task) -> list[Round]:
    """Return the versions that have verdicts of this run, in order."""
    rows = Verdict.objects.filter(task_id=task.pk, run=task.run)
    by_version: dict[int, list[Finding]] = {}
    for row in rows.order_by("plan_version", "position"):
        finding = Finding(
            criterion=row.criterion,
            verdict=row.verdict,
            evidence=row.evidence,
            method=row.method,
            score=row.score,
            kind=row.kind,
        )
        by_version.setdefault(row.plan_version, []).append(finding)
    return [
        Round(version=version, findings=tuple(findings))
        for version, findings in by_version.items()
    ]


def best(task: Task) -> Round | None:
    """Return the best of the versions that were judged in this run, if any was."""
    return max(judged(task), key=lambda each: each.rank, default=None)


def assembled(draft: Draft, chosen: Round) -> Assembly:
    """Put the result of a judged version together again."""
    assembly = assemble(
        draft.values,
        steps=draft.steps,
        findings=chosen.findings,
        is_partial=not draft.is_whole,
    )
    return replace(assembly, plan_version=chosen.version)


def plans_of_run(task: Task) -> list[Plan]:
    """Return the versions that this run has made or judged, in order."""
    judged_versions = Verdict.objects.filter(task_id=task.pk, run=task.run)
    return list(
        Plan.objects.filter(
            Q(run=task.run) | Q(version__in=judged_versions.values("plan_version")),
            task_id=task.pk,
        ).order_by("version")
    )


def same_result_before(task: Task, draft: Draft) -> int | None:
    """Return the earlier version of this run that gave the same result, if one did."""
    mark = _mark(draft)
    if task.plan_version < 2 or mark is None:
        return None
    versions = [plan.version for plan in plans_of_run(task)]
    earlier = (version for version in versions if version < task.plan_version)
    same = (v for v in earlier if _mark(draft_result(task, version=v)) == mark)
    return next(same, None)


def _mark(draft: Draft) -> str | None:
    """Return what tells a result from others: the outputs that it is filled from."""
    outputs = [
        fingerprint(step.output, purpose="output")
        for step in draft.steps
        if step.step_id in draft.sources and step.output is not None
    ]
    whole = [str(draft.is_whole), *sorted(outputs)]
    return fingerprint(list[JSONValue](whole), purpose="result") if outputs else None
