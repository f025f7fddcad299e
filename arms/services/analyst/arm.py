"""The analyst as an arm: picks the work by capability and explains the outcome."""

from __future__ import annotations

from collections.abc import Mapping

from arms.contract import ArmReply, ArmRequest, ArmServices, ArmSpec, Health
from arms.services.analyst import sentiment
from arms.services.analyst.analysis import Work
from arms.services.analyst.capabilities import SPEC
from arms.services.analyst.column_work import COLUMN_WORK
from arms.services.analyst.count_work import COUNT_WORK
from arms.services.analyst.form_work import FORM_WORK
from arms.services.analyst.json_work import JSON_WORK
from arms.services.analyst.likeness_work import LIKENESS_WORK
from arms.services.analyst.reading_work import READING_WORK
from arms.services.analyst.row_work import ROW_WORK
from arms.services.analyst.search_work import SEARCH_WORK
from arms.services.analyst.table_work import TABLE_WORK
from arms.services.analyst.text_work import TEXT_WORK
from arms.services.analyst.texts import go_on
from arms.services.analyst.trend_work import TREND_WORK
from octollm.errors import ArmInputError


class AnalystArm:
    """Works on texts, tables and JSON without a model."""

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


_WORK: Mapping[str, Work] = {
    **TEXT_WORK,
    **SEARCH_WORK,
    **COUNT_WORK,
    **FORM_WORK,
    **READING_WORK,
    **LIKENESS_WORK,
    **TABLE_WORK,
    **COLUMN_WORK,
    **ROW_WORK,
    **TREND_WORK,
    **JSON_WORK,
}
