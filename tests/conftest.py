"""The suite draws the same examples in every run; HYPOTHESIS_PROFILE=explore draws new ones."""

import os

import pytest
from hypothesis import settings

settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture(autouse=True)
def environment_of_its_own():
    """Undo what a test's commands tell their children: Dagster's home, the database's URL."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
