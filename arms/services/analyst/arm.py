"""The analyst as an arm: picks the work by capability and explains the outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from arms.contract import ArmReply, ArmRequest, ArmServices, ArmSpec, Health
from arms.services.analyst import sentiment
from arms.services.analyst.capabilities import SPEC
from arms.services.analyst.texts import MAX_ITEMS, Check, go_on, read_texts
from octollm.errors import ArmInputError
from octollm.types import JSONObject, JSONValue


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What one capability found, and how sure it is; 0.0 to 1.0 or unknown."""

    output: JSONObject
    confidence: float | None
    reason: str


Work = Callable[[JSONObject, Check], Analysis]


class AnalystArm:
    """Works on texts and tables without a model."""

    @property
    def spec(self) -> ArmSpec:
        """The catalogue entry."""
        return SPEC

    def execute(self, request: ArmRequest, services: ArmServices) -> ArmReply:
        """Run the capability that the request names on its input.

        Raises:
            ArmInputError: the input has the wrong shape or is too large.
            MissingInputError: there is nothing to work on.
        """
        work = _WORK.get(request.capability)
        if work is None:
            raise ArmInputError(
                f"The analyst has no capability “{request.capability}”.",
                arm_name=SPEC.name,
            )
        analysis = work(request.input, services.stop.check)
        return ArmReply(
            output=analysis.output,
            confidence=analysis.confidence,
            confidence_reason=analysis.reason,
        )

    def check(self) -> Health:
        """Score two plain sentences; the lexicon must tell them apart."""
        good = sentiment.score_text("This is great, I love it.", check=go_on).score
        bad = sentiment.score_text("This is terrible, I hate it.", check=go_on).score
        if bad < 0 < good:
            return Health(is_healthy=True, detail=sentiment.NAME)
        return Health(is_healthy=False, detail="The lexicon scores plain words wrong.")


def _sentiment(given: JSONObject, check: Check) -> Analysis:
    """Score the sentiment of texts."""
    texts = read_texts(given.get("texts"))
    found = sentiment.score_texts(texts.texts, check=check)
    items: list[JSONValue] = [
        {"index": index, "score": round(each.score, 4), "label": each.label}
        for index, each in zip(texts.indexes, found.texts, strict=True)
    ]
    undecided = sum(each.label in ("neutral", "undecided") for each in found.texts)
    output: JSONObject = {
        "sentiment_score": round(found.score, 4),
        "positive": round(found.positive, 4),
        "negative": round(found.negative, 4),
        "undecided": round(found.undecided, 4),
        "neutral": round(found.neutral, 4),
        "count": len(items),
        "coverage": round(found.coverage, 4),
        "items": items[:MAX_ITEMS],
        "items_cut": len(items) > MAX_ITEMS,
        "method": _sentences(
            f"{sentiment.NAME}.",
            f"{undecided} of {len(items)} texts were left undecided: "
            "they balance, hold no opinion word, or are not in English.",
            (
                f"Only the first {MAX_ITEMS:,} items are listed."
                if len(items) > MAX_ITEMS
                else ""
            ),
            texts.remark,
        ),
    }
    reason = (
        f"Coverage {found.coverage:.2f} times {sentiment.ACCURACY_WHEN_DECIDED}, "
        "the share of decided review sentences whose sign the lexicon gets right."
    )
    return Analysis(output=output, confidence=found.confidence, reason=reason)


def _sentences(*parts: str) -> str:
    """Join what there is to say."""
    return " ".join(part for part in parts if part)


_WORK: Mapping[str, Work] = {"sentiment": _sentiment}
