"""The thresholds that ``python -m tests.planner.calibrate`` found."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

CALIBRATION_FILE = Path(__file__).resolve().parent / "calibration.toml"

Share = Annotated[float, Field(gt=0, le=1)]


class Calibration(BaseModel):
    """Least scores.

    Attributes:
        recipes: for a recipe to take a part of a goal.
        memory: for an owner's earlier plan to be made again.
        examples: for a neighbour to be shown to a model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipes: Share
    memory: Share
    examples: Share


@cache
def calibration() -> Calibration:
    """Return the shipped thresholds; the file is read once per process."""
    return Calibration.model_validate(tomllib.loads(CALIBRATION_FILE.read_text()))
