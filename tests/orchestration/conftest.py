"""One range run of the whole chain on a reduced universe, shared by the tests of this folder."""

import dagster as dg
import pytest

from orchestration.base.settings import Settings
from tests.orchestration.chain import MONTHS, run, write_vendor_files


@pytest.fixture(scope="session")
def vendor_dir(tmp_path_factory):
    return write_vendor_files(tmp_path_factory.mktemp("vendor"))


@pytest.fixture(scope="session")
def whole(tmp_path_factory, vendor_dir):
    """Settings and instance after one run over all months."""
    settings = Settings(home=tmp_path_factory.mktemp("whole"), vendor_dir=vendor_dir)
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(settings, [(MONTHS[0], MONTHS[-1])], instance=instance).success
        yield settings, instance


@pytest.fixture(scope="session")
def history(tmp_path_factory):
    """A few names' files, and the home that holds all that they say: to be copied, not changed."""
    root = tmp_path_factory.mktemp("history")
    settings = Settings(
        home=root / "home", vendor_dir=write_vendor_files(root / "vendor", every=10_000)
    )
    assert run(settings, [(MONTHS[0], MONTHS[-1])]).success
    return root
