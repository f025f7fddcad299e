"""Read model instances from statements written by hand.

The ORM takes 0.5 to 1 ms of CPU to put a statement together and read its row; where
that runs for every request or every step, the text is made once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Generic, TypeVar

from django.db import connection
from django.db.models import Model

M = TypeVar("M", bound=Model)


class RowReader(Generic[M]):
    """The columns of a model, and instances made from rows of them.

    Attributes:
        width: how many columns there are.
    """

    def __init__(self, model: type[M], *, without: Collection[str] = ()) -> None:
        """Read all columns but those of the fields ``without``, which are deferred."""
        fields = [f for f in model._meta.concrete_fields if f.name not in without]
        self._model = model
        self._names = [field.attname for field in fields]
        self._columns = [field.column for field in fields]
        self._converters = [
            (position, field.from_db_value)
            for position, field in enumerate(fields)
            if hasattr(field, "from_db_value")
        ]
        self.width = len(fields)

    def columns(self, alias: str) -> str:
        """Return the column list of a SELECT from the table under that alias."""
        return ", ".join(f'{alias}."{column}"' for column in self._columns)

    def read(self, row: Sequence[Any]) -> M:
        """Return the instance that the ORM would make of these ``width`` values."""
        values = list(row)
        for position, convert in self._converters:
            values[position] = convert(values[position], None, connection)
        return self._model.from_db(connection.alias, self._names, values)
