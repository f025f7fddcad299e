"""The judge as an arm: each criterion and constraint gets a verdict with evidence."""

from __future__ import annotations

from django.conf import settings

from arms.contract import ArmReply, ArmRequest, ArmServices, ArmSpec, Health
from arms.services.judge.capabilities import SPEC
from arms.services.judge.checks import Subject, check
from arms.services.judge.grammar import parse
from arms.services.judge.model import judge_with_model
from arms.services.judge.verdicts import Ruling, not_checked
from octollm.errors import ArmInputError
from octollm.types import JSONObject, JSONValue

_SELF_CHECK = (("score between 0 and 1", "met"), ("score > 0.5", "not_met"))


class JudgeArm:
    """Computes what can be computed; the rest goes to a model or stays unchecked."""

    @property
    def spec(self) -> ArmSpec:
        """The catalogue entry."""
        return SPEC

    def execute(self, request: ArmRequest, services: ArmServices) -> ArmReply:
        """Judge the result by every criterion and constraint.

        Raises:
            ArmInputError: the input has the wrong shape.
            ModelUnavailableError: the model that would judge is away; a retry may help.
        """
        if request.capability != "check_criteria":
            raise ArmInputError(
                f"The judge has no capability “{request.capability}”.",
                arm_name=SPEC.name,
            )
        given = request.input
        subject = Subject(
            result=_object(given, "result"),
            outputs=_object(given, "outputs"),
            revealed_result=(
                _object(given, "revealed_result")
                if given.get("revealed_result") is not None
                else None
            ),
        )
        asked = [(text, "criterion") for text in _texts(given, "criteria")]
        asked += [(text, "constraint") for text in _texts(given, "constraints")]
        rulings = [_compute(text, subject, services) for text, _ in asked]
        is_last = request.attempt >= settings.OCTOLLM_MAX_ATTEMPTS
        _ask_model(asked, rulings, subject, services, is_last=is_last)
        verdicts: list[JSONValue] = [
            ruling.as_verdict(text, kind=kind)
            for (text, kind), ruling in zip(asked, rulings, strict=True)
        ]
        return _reply(verdicts, rulings)

    def check(self) -> Health:
        """Judge a made-up result by two criteria with known verdicts."""
        subject = Subject(result={"score": 0.5}, outputs={})
        for criterion, expected in _SELF_CHECK:
            condition = parse(criterion)
            if condition is None or check(condition, subject).state != expected:
                return Health(is_healthy=False, detail=f"Wrong on “{criterion}”.")
        return Health(is_healthy=True, detail="Grammar and checks work.")


def _compute(criterion: str, subject: Subject, services: ArmServices) -> Ruling:
    """Judge by rules alone."""
    services.stop.check()
    condition = parse(criterion)
    if condition is None:
        return not_checked("No rule computes this criterion.")
    return check(condition, subject)


def _ask_model(
    asked: list[tuple[str, str]],
    rulings: list[Ruling],
    subject: Subject,
    services: ArmServices,
    *,
    is_last: bool,
) -> None:
    """Replace rulings that nobody could compute by a model's, where it gives one."""
    open_ids = {
        f"c{place}": place
        for place, ruling in enumerate(rulings)
        if ruling.state == "not_checked"
    }
    questions = {name: asked[place][0] for name, place in open_ids.items()}
    answers = judge_with_model(questions, subject.result, services, is_last=is_last)
    for name, ruling in answers.items():
        place = open_ids[name]
        if ruling.state == "not_checked":
            # Why no rule could decide stays, with why the model did not either.
            reason = f"{rulings[place].evidence} {ruling.evidence}"
            ruling = not_checked(reason, method=ruling.method)
        rulings[place] = ruling


def _reply(verdicts: list[JSONValue], rulings: list[Ruling]) -> ArmReply:
    """Return the verdicts; the judge is as sure as its rules reach."""
    checked = sum(ruling.state != "not_checked" for ruling in rulings)
    return ArmReply(
        output={"verdicts": verdicts},
        confidence=checked / len(rulings) if rulings else None,
        confidence_reason=(
            f"{checked} of {len(rulings)} could be checked."
            if rulings
            else "There was nothing to judge by."
        ),
    )


def _object(given: JSONObject, name: str) -> JSONObject:
    """Return an object of the input; missing is empty."""
    value = given.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ArmInputError(f"“{name}” must be an object.", arm_name=SPEC.name)
    return value


def _texts(given: JSONObject, name: str) -> list[str]:
    """Return a list of texts of the input; missing is empty."""
    value = given.get(name)
    members = [] if value is None else value
    if not isinstance(members, list):
        raise ArmInputError(f"“{name}” must be a list of texts.", arm_name=SPEC.name)
    texts = [member for member in members if isinstance(member, str)]
    if len(texts) < len(members):
        raise ArmInputError(f"“{name}” must hold texts only.", arm_name=SPEC.name)
    return texts
