"""Which goals the shipped recipes take, and which they leave to a model."""

from __future__ import annotations

import pytest

from planner.calibration import calibration
from planner.matching import Given, match_goal
from planner.recipe import Need, Recipe, all_recipes
from tests.planner import calibrate

NOTHING = Given()
EVERYTHING = Given(needs=calibrate.EVERYTHING)

FITTING = {
    "sentiment": [
        "Analyze sentiment of product reviews",
        "Analyse the sentiment of these product reviews, please",
        "Analyze sentiment of 1000 product reviews",
        "What do customers think of our app?",
        "How do people feel about the new policy?",
        "Tell me the mood of the comments",
        "Run a sentiment analysis on the feedback",
        "Are customers happy with the delivery?",
        "Are these reviews positive or negative?",
        "I want to know the sentiment of the customer feedback",
    ],
    "summarise": [
        "Summarize these articles",
        "Summarise the report in 3 sentences",
        "Give me a short summary of the meeting notes",
        "Write a summary of the transcript",
        "What are the main points of this document?",
    ],
    "keywords": [
        "Find the keywords",
        "What are the main topics in the feedback?",
        "Extract the 5 most important keywords from the articles",
        "List the most telling words",
        "What do customers complain about?",
    ],
    "classify": [
        "Classify the tickets by rules",
        "Categorise these messages",
        "Sort the emails into categories",
    ],
    "describe_table": [
        "Describe the table",
        "What columns does the dataset have?",
        "Summarize the table",
    ],
    "aggregate": [
        "how many rows per region",
        "Average price by region",
        "Total sales per shop",
        "Count the orders by customer",
        "number of tickets by status",
    ],
    "extract": [
        "Extract the e-mail addresses",
        "Extract dates and emails from the letters",
        "List the amounts of money in these invoices",
    ],
    "compare": [
        "Compare the two texts",
        "What are the differences between the two contracts?",
        "How similar are these documents?",
    ],
    "search_documents": [
        "Search the documents for the refund policy",
        "Find documents about parental leave",
        "What do the documents say about warranty?",
    ],
    "sentiment+keywords": ["Analyze sentiment of the reviews and find the keywords"],
    "describe_table+aggregate": [
        "Describe the table and compute the average price by region"
    ],
}
OPEN_ENDED = [
    "Write a novel",
    "Deploy my app",
    "Translate this to French",
    "Translate this summary to French",
    "Write a poem about customer sentiment",
    "Analyze sentiment of product reviews and write a report",
    "Summarize the articles, then email the result to everyone",
    "What is the average human lifespan?",
    "What is the capital of France?",
    "Explain how keywords work in SEO",
    "Train a model to classify images",
    "Search the web for cheap flights",
    "Predict next month's sales",
    "Please fix the bug in my code",
    "Hello",
    "!!! ???",
    "Analysiere die Stimmung der Kunden",
]


def taken(goal: str, given: Given = NOTHING) -> str:
    return "+".join(recipe.id for recipe in match_goal(goal, given=given).recipes)


@pytest.mark.parametrize("has_input", [False, True])
@pytest.mark.parametrize(
    ("recipes", "goal"),
    [(recipes, goal) for recipes, goals in FITTING.items() for goal in goals],
)
def test_a_goal_finds_its_recipe(recipes: str, goal: str, has_input: bool) -> None:
    needs = {recipe.id: recipe.needs for recipe in all_recipes()}
    there = frozenset(needs[each] for each in recipes.split("+"))

    assert taken(goal, Given(needs=there) if has_input else NOTHING) == recipes


@pytest.mark.parametrize("given", [NOTHING, EVERYTHING], ids=["nothing", "everything"])
@pytest.mark.parametrize("goal", OPEN_ENDED)
def test_an_open_ended_goal_is_left_to_a_model(goal: str, given: Given) -> None:
    match = match_goal(goal, given=given)

    assert match.recipes == ()
    assert len(match.nearest) == len(all_recipes())


@pytest.mark.parametrize("recipe", all_recipes(), ids=lambda recipe: recipe.id)
def test_a_recipe_takes_its_examples_and_leaves_what_only_sounds_so(
    recipe: Recipe,
) -> None:
    given = Given(needs=frozenset[Need]({recipe.needs}))

    assert {taken(goal, given) for goal in recipe.examples.fits} == {recipe.id}
    assert [taken(goal, EVERYTHING) for goal in recipe.examples.refuses] == [
        "" for _ in recipe.examples.refuses
    ]


def test_no_goal_of_the_calibration_is_written_in_a_recipe() -> None:
    said = {
        goal
        for recipe in all_recipes()
        for goal in (*recipe.examples.fits, *recipe.examples.refuses)
    } | {phrase for recipe in all_recipes() for phrase in recipe.fit.phrases}

    assert said.isdisjoint(case.goal for case in calibrate.all_cases())


def test_the_shipped_threshold_takes_no_open_ended_and_no_reversed_goal() -> None:
    calibrated = calibrate.figures(calibrate.cases("calibration"))
    held_out = calibrate.figures(calibrate.cases("held_out"))

    assert calibrated.false_accepts == held_out.false_accepts == 0
    assert calibrated.wrong + held_out.wrong <= 4
    assert min(calibrated.recall, held_out.recall) >= 0.95


def test_goals_that_nothing_was_mended_for_say_what_to_expect() -> None:
    figures = calibrate.figures(calibrate.cases("untouched"))

    assert figures.recall >= 0.90
    assert figures.precision >= 0.85


def test_the_shipped_thresholds_are_those_that_calibration_finds() -> None:
    assert calibrate.chosen() == calibration()


@pytest.mark.parametrize(
    "goal",
    [
        "Remove the duplicates from the table and show them",
        "Deduplicate the rows, please. Thanks!",
        "Deduplicate the rows. Keep it short.",
        "Find the duplicate rows and list the result",
    ],
)
def test_a_part_that_asks_for_nothing_more_rules_nothing_out(goal: str) -> None:
    assert taken(goal) == "deduplicate_rows"


def test_what_goes_with_an_order_is_none_unless_it_holds_one() -> None:
    assert taken("Give an overview of the table, with its statistics")
    assert not taken("Find the keywords, with their meaning explained")
    assert not taken("Find the keywords, with a poem for each")


@pytest.mark.parametrize(
    "goal",
    [
        "Summarise only the redacted letters",
        "Summarise the reviews after redacting them",
        "Score the sentiment of the filtered comments",
        "Describe the joined table",
    ],
)
def test_a_change_that_no_chosen_recipe_makes_is_not_passed_over(goal: str) -> None:
    assert taken(goal, EVERYTHING) == ""


def test_a_recipe_that_does_all_parts_takes_the_place_of_several() -> None:
    goal = "Remove the duplicate reviews and score their sentiment"

    assert taken(goal) == "unique_sentiment"


def test_the_part_that_needs_a_model_is_named() -> None:
    goal = "Summarize the articles and translate the summary"

    match = match_goal(goal, given=NOTHING)

    assert match.open_part == "translate the summary"


def test_what_the_context_calls_its_columns_needs_no_recipe_to_know_it() -> None:
    goal = "What is the total revenue?"

    known = Given(needs=frozenset[Need]({"table"}), names=frozenset({"revenu"}))

    assert taken(goal) == ""
    assert taken(goal, known) == "aggregate"


def test_what_there_is_decides_between_recipes_that_fit_alike() -> None:
    goal = "Remove the duplicates"

    assert taken(goal, Given(needs=frozenset[Need]({"table"}))) == "deduplicate_rows"
    assert taken(goal, Given(needs=frozenset[Need]({"texts"}))) == "deduplicate_texts"


def test_a_long_goal_is_left_to_a_model() -> None:
    many = ". ".join(f"Summarise text {number}" for number in range(100))

    assert taken(many) == ""
