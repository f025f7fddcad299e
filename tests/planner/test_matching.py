"""Which goals the shipped recipes take, and which they leave to a model."""

from __future__ import annotations

import pytest

from planner.matching import match_goal
from planner.recipe import all_recipes

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
        "List the most frequent words",
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
        "Total sales per month",
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


@pytest.mark.parametrize("in_context", [0.0, 0.2])
@pytest.mark.parametrize(
    ("recipes", "goal"),
    [(recipes, goal) for recipes, goals in FITTING.items() for goal in goals],
)
def test_a_goal_finds_its_recipe(recipes: str, goal: str, in_context: float) -> None:
    match = match_goal(goal, all_recipes(), support=lambda _: in_context)

    assert "+".join(recipe.id for recipe in match.recipes) == recipes


@pytest.mark.parametrize("in_context", [0.0, 0.2])
@pytest.mark.parametrize("goal", OPEN_ENDED)
def test_an_open_ended_goal_is_left_to_a_model(goal: str, in_context: float) -> None:
    match = match_goal(goal, all_recipes(), support=lambda _: in_context)

    assert match.recipes == ()
    assert len(match.nearest) == len(all_recipes())


def test_the_part_that_needs_a_model_is_named() -> None:
    goal = "Summarize the articles and translate the summary"

    match = match_goal(goal, all_recipes(), support=lambda _: 0.0)

    assert match.open_part == "translate the summary"


def test_the_context_decides_where_words_are_few() -> None:
    goal = "What is the total revenue?"

    without, with_column = (
        match_goal(goal, all_recipes(), support=lambda _, s=support: s)  # type: ignore[misc]
        for support in (0.0, 0.4)
    )

    assert without.recipes == ()
    assert [recipe.id for recipe in with_column.recipes] == ["aggregate"]
