"""The policy: what each checkpoint does with each kind of finding."""

import pytest

from reflex.decide import (
    Action,
    Checkpoint,
    Combination,
    Policy,
    Sign,
    action_for,
    combine,
    load_policy,
    strictest,
)

LOOSE = Policy(
    actions={
        Checkpoint.REQUEST: {
            "values": {"default": Action.REDACT, "IP": Action.ALLOW},
            "injection": {"high": Action.FLAG},
        }
    },
    combination=Combination(
        families=3, within=10, score=3, weights={"low": 1, "medium": 2}
    ),
)


@pytest.mark.parametrize("checkpoint", Checkpoint)
@pytest.mark.parametrize("value_type", ["EMAIL", "SECRET", "CARD", "LITERAL"])
def test_values_are_concealed_everywhere(checkpoint, value_type):
    action = action_for(checkpoint, value_type=value_type, severity="low")

    assert action == Action.REDACT


@pytest.mark.parametrize(
    ("checkpoint", "severity", "action"),
    [
        (Checkpoint.REQUEST, "high", Action.BLOCK),
        (Checkpoint.REQUEST, "medium", Action.FLAG),
        (Checkpoint.REQUEST, "low", Action.ALLOW),
        (Checkpoint.DOCUMENT, "high", Action.FLAG),
        (Checkpoint.TOOL_OUTPUT, "high", Action.FLAG),
        (Checkpoint.MODEL_OUTPUT, "high", Action.FLAG),
    ],
)
def test_attacks_block_requests_and_taint_the_rest(checkpoint, severity, action):
    assert action_for(checkpoint, value_type="", severity=severity) == action


def test_another_policy_decides_by_type():
    def decided(value_type: str) -> Action:
        return action_for(
            Checkpoint.REQUEST, value_type=value_type, severity="low", policy=LOOSE
        )

    assert decided("IP") == Action.ALLOW
    assert decided("EMAIL") == Action.REDACT


def test_strictest_action_wins():
    assert strictest([Action.FLAG, Action.BLOCK, Action.ALLOW]) == Action.BLOCK
    assert strictest([]) == Action.ALLOW


@pytest.mark.parametrize(
    ("signs", "raised"),
    [
        ("", set()),
        ("0 a medium", set()),
        ("0 a medium, 5 a medium", set()),
        ("0 a medium, 5 b medium", {0, 1}),
        ("0 a medium, 5 b low", {0, 1}),
        ("0 a low, 5 b low, 9 c low", set()),
        ("0 a low, 5 b low, 9 c low, 12 d low", {0, 1, 2, 3}),
        ("0 a low, 1 a low, 2 a low, 3 b low, 4 b low", set()),
        ("0 a medium, 9000 b medium", set()),
        ("0 a medium, 9000 b medium, 9001 a medium", {1, 2}),
    ],
)
def test_signs_that_weigh_enough_together_are_raised(signs, raised):
    fields = [sign.split() for sign in signs.split(", ") if sign]

    assert (
        combine(
            [
                Sign(start=int(start), family=family, severity=severity)
                for start, family, severity in fields
            ]
        )
        == raised
    )


def test_policy_covers_every_checkpoint_and_severity():
    for checkpoint in Checkpoint:
        kinds = load_policy().actions[checkpoint]
        assert set(kinds["injection"]) == {"low", "medium", "high"}
        assert "default" in kinds["values"]
