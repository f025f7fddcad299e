"""The small command that prints what screening costs."""

from reflex.measure import main


def test_costs_are_printed_for_plain_and_hostile_texts(capsys):
    main()

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("engine hyperscan")
    assert len(lines) > 10
    assert all(line.endswith(" us") for line in lines)
