"""The analyst's catalogue entry: what each capability takes and gives."""

from __future__ import annotations

from arms.contract import ArmSpec
from arms.services.analyst.capabilities.columns import COLUMNS
from arms.services.analyst.capabilities.json_values import JSON_VALUES
from arms.services.analyst.capabilities.reading import READING
from arms.services.analyst.capabilities.rows import ROWS
from arms.services.analyst.capabilities.texts import FORMS, LIKENESS, SEARCHING

# It computes in this process and sends nothing anywhere, so it may work on personal
# values that texts hold; secrets and numbers of cards and insurances help no analysis.
SPEC = ArmSpec(
    name="analyst",
    version="1.1",
    description="Works on texts, tables and JSON with lexicon, rules and statistics.",
    capabilities=(
        *READING,
        *SEARCHING,
        *FORMS,
        *LIKENESS,
        *COLUMNS,
        *ROWS,
        *JSON_VALUES,
    ),
    sees=frozenset({"EMAIL", "PHONE", "IP", "IBAN"}),
    is_repeatable=True,
    synonyms=("analysis", "analyzer", "analyser", "data_analyst", "text_analyst"),
)
