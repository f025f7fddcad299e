"""The figures that plans are judged by, on plans small enough to count by hand."""

from __future__ import annotations

import pytest

from tests.evaluation.scores import (
    Counts,
    Graph,
    Match,
    best_match,
    compare,
    percentile,
    pooled,
    share,
)

CHAIN = Graph(nodes=("r.fetch", "a.mood", "a.words"), edges=(("r.fetch", "a.mood"),))


def graph(*nodes: str, edges: tuple[tuple[str, str], ...] = ()) -> Graph:
    return Graph(nodes=nodes, edges=edges)


def test_an_equal_plan_scores_one() -> None:
    match = compare(CHAIN, CHAIN)

    assert (match.nodes.f1, match.edges.f1) == (1.0, 1.0)


def test_no_plan_misses_all_gold() -> None:
    match = compare(Graph(), CHAIN)

    assert match.nodes == Counts(hits=0, predicted=0, gold=3)
    assert (match.nodes.f1, match.edges.f1) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("predicted", "f1"),
    [
        (graph("r.fetch", "a.mood", "a.other"), 2 / 3),
        (graph("r.fetch"), 1 / 2),
        (graph("r.fetch", "a.mood", "a.words", "a.other", "a.more"), 3 / 4),
        (graph("r.fetch", "r.fetch", "r.fetch"), 1 / 3),
        (graph("x.y", "x.z"), 0.0),
    ],
)
def test_nodes_are_counted_as_often_as_they_occur(predicted: Graph, f1: float) -> None:
    assert compare(predicted, CHAIN).nodes.f1 == pytest.approx(f1)


def test_an_edge_counts_in_its_direction_only() -> None:
    turned = graph(*CHAIN.nodes, edges=(("a.mood", "r.fetch"),))

    match = compare(turned, CHAIN)

    assert match.nodes.f1 == 1.0
    assert match.edges == Counts(hits=0, predicted=1, gold=1)


def test_an_edge_that_nobody_wanted_lowers_the_score() -> None:
    edges = (*CHAIN.edges, ("r.fetch", "a.words"))

    assert compare(graph(*CHAIN.nodes, edges=edges), CHAIN).edges.f1 == pytest.approx(
        2 / 3
    )


def test_without_edges_on_either_side_there_is_nothing_to_score() -> None:
    assert compare(graph("a.b"), graph("a.b")).edges.f1 is None


def test_steps_that_a_rule_demanded_are_not_held_against_a_plan() -> None:
    padded = graph("a.mood", "a.words", "a.other", edges=(("a.mood", "a.other"),))

    match = compare(padded, graph("a.mood"), fewest=3)

    assert match.nodes.f1 == 1.0
    assert match.edges.f1 is None


def test_more_steps_than_the_rule_demanded_are_held_against_a_plan() -> None:
    padded = graph("a.mood", "b.a", "b.b", "b.c")

    match = compare(padded, graph("a.mood"), fewest=3)

    assert match.nodes == Counts(hits=1, predicted=2, gold=1)


def test_a_wrong_plan_is_not_made_right_by_the_rule() -> None:
    match = compare(graph("b.a", "b.b", "b.c"), graph("a.mood"), fewest=3)

    assert match.nodes == Counts(hits=0, predicted=1, gold=1)


def test_the_alternative_that_fits_best_counts() -> None:
    other = graph("a.mood", "a.count")

    match = best_match(other, [CHAIN, other])

    assert match.nodes.f1 == 1.0


def test_of_alternatives_with_equal_nodes_the_edges_decide() -> None:
    without = graph(*CHAIN.nodes)

    assert best_match(CHAIN, [without, CHAIN]).edges.f1 == 1.0


def test_without_gold_nothing_is_counted() -> None:
    assert best_match(CHAIN, []) == Match()


def test_pooling_weighs_goals_by_their_size() -> None:
    whole = compare(CHAIN, CHAIN)
    missed = compare(Graph(), graph("a.mood"))

    assert pooled([whole, missed]).nodes == Counts(hits=3, predicted=3, gold=4)


def test_a_share_is_of_what_is_known() -> None:
    assert share([True, False, None, True]) == pytest.approx(2 / 3)
    assert share([None]) is None


@pytest.mark.parametrize(("percent", "value"), [(50, 3), (95, 5), (100, 5), (1, 1)])
def test_a_percentile_is_the_nearest_rank(percent: float, value: float) -> None:
    assert percentile([5, 1, 3, 2, 4], percent) == value


def test_nothing_has_no_percentile() -> None:
    assert percentile([], 95) is None
