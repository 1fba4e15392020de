"""Tests that every engine adapter must pass: subclass `EngineConformance` and provide scenarios.

::

    class TestMyEngine(EngineConformance):
        @pytest.fixture
        def scenarios(self) -> Scenarios:
            return MyScenarios()

Only test suites import this package: it needs pytest.
"""

from __future__ import annotations

from cvat_lambda.engine.conformance.edits import Edits
from cvat_lambda.engine.conformance.facts import Facts
from cvat_lambda.engine.conformance.frames import Frames
from cvat_lambda.engine.conformance.people import People
from cvat_lambda.engine.conformance.removing import Removing
from cvat_lambda.engine.conformance.scenarios import LABELS, Bench, Feature, Scenarios
from cvat_lambda.engine.conformance.scopes import Scopes
from cvat_lambda.engine.conformance.writing import Writing

__all__ = ["LABELS", "Bench", "EngineConformance", "Feature", "Scenarios"]


class EngineConformance(Facts, Frames, Writing, Removing, Edits, Scopes, People):
    """All conformance tests of the port. A subclass provides the fixture ``scenarios``."""
