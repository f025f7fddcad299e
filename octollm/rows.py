"""Read and write rows by statements that are made once.

The ORM takes 0.5 to 1 ms of CPU to put a statement together; where that would happen
for every request or every step, these are used in its place.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Generic, TypeVar

from django.db import connection, models
from django.db.models import Model
from psycopg.types.json import Jsonb

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


class RowWriter:
    """Inserts one row of a model by a statement made once."""

    def __init__(
        self, model: type[Model], *fields: str, ignores_conflicts: bool = False
    ) -> None:
        """Write these fields; the rest take the database's defaults.

        A row that is there already stays when conflicts are ignored.
        """
        found = [f for f in model._meta.concrete_fields if f.name in fields]
        self._json = {f.name for f in found if isinstance(f, models.JSONField)}
        columns = ", ".join(str(field.column) for field in found)
        values = ", ".join(f"%({field.name})s" for field in found)
        ending = " ON CONFLICT DO NOTHING" if ignores_conflicts else ""
        self._statement = (
            f"INSERT INTO {model._meta.db_table} ({columns}) "  # noqa: S608  # our names
            f"VALUES ({values}){ending}"
        )

    def write(self, **values: Any) -> None:
        """Insert one row with a value for each field."""
        adapted: dict[str, Any] = {
            name: Jsonb(value) if name in self._json else value
            for name, value in values.items()
        }
        with connection.cursor() as cursor:
            cursor.execute(self._statement, adapted)
