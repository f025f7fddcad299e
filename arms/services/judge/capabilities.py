"""The judge's catalogue entry: what it takes and gives."""

from __future__ import annotations

from arms.contract import ArmSpec, Capability
from arms.services import schemas

_CHECK_CRITERIA = Capability(
    name="check_criteria",
    description="Judge a result by each criterion and constraint, with evidence.",
    input_schema=schemas.record(
        {
            "result": schemas.mapping(schemas.anything(), "What the task gives back."),
            "outputs": schemas.mapping(schemas.anything(), "Outputs by step id."),
            "criteria": schemas.array(schemas.text()),
            "constraints": schemas.array(schemas.text()),
            "revealed_result": schemas.mapping(
                schemas.anything(),
                "The result as its owner will see it; what “No PII” is judged by.",
            ),
        },
        required=("result", "criteria"),
    ),
    output_schema=schemas.record(
        {
            "verdicts": schemas.array(
                schemas.record(
                    {
                        "criterion": schemas.text("As it was given."),
                        "kind": schemas.one_of(("criterion", "constraint")),
                        "verdict": schemas.one_of(("met", "not_met", "not_checked")),
                        "evidence": schemas.text("Which value, and where it stands."),
                        "method": schemas.text("Which rule decided."),
                        "score": schemas.anything("0 to 1, null if not checked."),
                    }
                ),
                "Criteria in their order, then constraints.",
            ),
        }
    ),
    seconds=1.0,
)

# Sees nothing: text criteria are judged on placeholders, and “No PII” on the stored
# result, since whoever bans personal data is shown that one. A caller who shows more
# hands over ``revealed_result``.
SPEC = ArmSpec(
    name="judge",
    version="1.0",
    description="Checks results against criteria; says what it could not check.",
    capabilities=(_CHECK_CRITERIA,),
    is_repeatable=True,
    synonyms=("validator", "verifier", "reviewer", "critic"),
)
