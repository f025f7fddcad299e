"""Whether a wish bans personal data, and whether a result shows any.

A result is searched by one scan over its keys, texts and numbers.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import lru_cache

from arms.services.judge.conditions import All, NoPersonalData
from arms.services.judge.grammar import parse
from arms.services.judge.verdicts import Ruling, decided
from octollm.ids import new_id
from octollm.types import JSONObject
from reflex.placeholders import LITERAL, PLACEHOLDER
from reflex.screening import Checkpoint, Finding, screen
from reflex.vault import Vault

_METHOD = "reflex rules for personal data"
# Bans in words that the grammar does not read: nobody judges by them, but what they
# may mean is kept all the same.
_LOOSE_BAN = re.compile(
    r"\b(no|without|free of|exclude|remove|omit|never (show|include|reveal))\b.{0,40}"
    r"\b(pii|personal(ly)?[ -](data|information|identif\w+))\b",
    re.IGNORECASE,
)


# Asked at every look at a result, about the same few texts.
@lru_cache(maxsize=1024)
def forbids_personal_data(wish: str) -> bool:
    """Say whether a constraint or criterion bans personal data of every type.

    Such a result is judged with its placeholders closed, so whoever shows it must
    leave them closed, too.
    """
    condition = parse(wish)
    parts = condition.parts if isinstance(condition, All) else (condition,)
    return NoPersonalData(types=frozenset()) in parts or bool(_LOOSE_BAN.search(wish))


def check_personal_data(
    result: JSONObject, *, revealed: JSONObject | None, types: frozenset[str]
) -> Ruling:
    """Decide whether personal data of these types shows; no types means all.

    Without ``revealed`` the stored result counts as what is seen, because a result
    whose task forbids personal data is shown with its placeholders. A ban on single
    types does not keep placeholders closed, so there they count as values.
    """
    seen = result if revealed is None else revealed
    shown = [finding for finding in _findings(seen) if _counts(finding, types)]
    concealed = Counter(
        match[1]
        for match in PLACEHOLDER.finditer(json.dumps(seen, ensure_ascii=False))
        if match[1] != LITERAL
    )
    if types and revealed is None:
        opened = {name: count for name, count in concealed.items() if name in types}
        if opened and not shown:
            evidence = f"Placeholders that its owner sees the values of: {opened}."
            return decided(is_met=False, evidence=evidence, method=_METHOD)
    if shown:
        places = ", ".join(f"{each.type} at {_place(each)}" for each in shown[:5])
        evidence = f"{len(shown)} found: {places}."
        return decided(is_met=False, evidence=evidence, method=_METHOD)
    kept = f" {concealed.total()} values stay concealed." if concealed else ""
    evidence = f"No personal data in the result.{kept}"
    return decided(is_met=True, evidence=evidence, method=_METHOD)


def _findings(document: JSONObject) -> tuple[Finding, ...]:
    """Scan the document; what the vault gives out is never written."""
    vault = Vault.new(new_id())
    found = screen(document, checkpoint=Checkpoint.MODEL_OUTPUT, vault=vault)
    return found.findings


def _place(finding: Finding) -> str:
    """Return the path with keys that are personal themselves named by their type.

    The placeholders in it come from the vault that is thrown away here; as they are
    they would be read as values of the task.
    """
    return PLACEHOLDER.sub(lambda match: f"({match[1]})", finding.path)


def _counts(finding: Finding, types: frozenset[str]) -> bool:
    """Say whether a finding is what was forbidden."""
    if finding.family not in ("pii", "secret"):
        return False
    return not types or finding.type in types
