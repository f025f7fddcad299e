"""``python -m octollm`` is the ``octollm`` command."""

from octollm.cli import main

if __name__ == "__main__":
    main()
