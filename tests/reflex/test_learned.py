"""A learned detector adds to the rules, and its failures close the way."""

from collections.abc import Iterable
from importlib import metadata

import pytest

from octollm.errors import ScreeningUnavailableError
from reflex import learned
from reflex.decide import Checkpoint
from reflex.detect import detect
from reflex.learned import LearnedFinding

TEXT = "The owl flies at midnight. Mail ada@example.org."


class Owl:
    """Takes every owl for an attack."""

    def find(self, text: str, checkpoint: str) -> Iterable[LearnedFinding]:
        assert checkpoint == "request"
        start = text.find("owl")
        if start >= 0:
            yield LearnedFinding(start=start, end=start + 3, severity="high")


class Broken:
    """Fails in one of the ways that code of others fails."""

    def __init__(self, finding: LearnedFinding | None = None) -> None:
        self._finding = finding

    def find(self, text: str, checkpoint: str) -> Iterable[LearnedFinding]:
        if self._finding is None:
            raise RuntimeError("no weights")
        return [self._finding]


@pytest.fixture
def install(monkeypatch, settings):
    def install(made: object) -> None:
        class Entry:
            def load(self) -> object:
                return lambda: made

        def entry_points(*, group: str, name: str) -> list[Entry]:
            return [Entry()] if (group, name) == (learned.GROUP, "owl") else []

        monkeypatch.setattr(learned, "entry_points", entry_points)
        settings.OCTOLLM_REFLEX_DETECTOR = "owl"
        learned._detector.cache_clear()

    yield install
    learned._detector.cache_clear()


def test_none_is_asked_by_default(settings):
    assert settings.OCTOLLM_REFLEX_DETECTOR == ""
    assert [m.rule.id for m in detect(TEXT, checkpoint=Checkpoint.REQUEST)] == ["email"]


def test_findings_count_beside_those_of_the_rules(install):
    install(Owl())

    found = detect(TEXT, checkpoint=Checkpoint.REQUEST)

    assert [(m.rule.id, m.severity) for m in found] == [
        ("learned.owl", "high"),
        ("email", "medium"),
    ]
    assert TEXT[found[0].start : found[0].end] == "owl"


@pytest.mark.parametrize(
    "finding",
    [
        None,
        LearnedFinding(start=0, end=9999, severity="high"),
        LearnedFinding(start=0, end=1, severity="dreadful"),
    ],
)
def test_failing_detector_closes_the_way(install, finding):
    install(Broken(finding))

    with pytest.raises(ScreeningUnavailableError, match="owl"):
        detect(TEXT, checkpoint=Checkpoint.REQUEST)


def test_missing_detector_closes_the_way(settings):
    settings.OCTOLLM_REFLEX_DETECTOR = "no-such"
    assert not metadata.entry_points(group=learned.GROUP, name="no-such")

    with pytest.raises(ScreeningUnavailableError, match="no-such"):
        detect(TEXT, checkpoint=Checkpoint.REQUEST)
