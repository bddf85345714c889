"""The catalogue of mutants. Every bug that is fixed adds a mutant to one of these lists."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.of_surfaces import OF_SURFACES
from tests.mutants.of_telemetry import OF_TELEMETRY
from tests.mutants.of_users import OF_USERS
from tests.mutants.of_waits import OF_WAITS
from tests.mutants.of_workers import OF_WORKERS

MUTANTS: tuple[Mutant, ...] = (*OF_WORKERS, *OF_WAITS, *OF_USERS, *OF_TELEMETRY, *OF_SURFACES)
