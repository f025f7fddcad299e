"""The small command that prints what screening costs."""

from pathlib import Path

from reflex.measure import main

DATA = Path(__file__).parent / "data"


def test_costs_are_printed_for_plain_and_hostile_texts(capsys):
    main([str(DATA / "heldout_pii.jsonl")])

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("engine hyperscan")
    assert any(line.startswith("mean of the texts") for line in lines)
    assert len(lines) > 20
    assert all(line.endswith(" us") for line in lines)
