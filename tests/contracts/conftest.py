"""One small run of the whole chain, shared by the tests of this folder."""

import pytest

from orchestration.base.settings import Settings
from sources.compliance_lists import RESTRICTED_LIST
from tests.orchestration.chain import MONTHS, run, write_vendor_files


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """Settings after a run over all months: evaluations begin after half a year of history."""
    vendor_dir = write_vendor_files(tmp_path_factory.mktemp("vendor"))
    settings = Settings(home=tmp_path_factory.mktemp("small"), vendor_dir=vendor_dir)
    # The book trades it in its first days: without a breach, no event says that one was found.
    settings.compliance_root.mkdir(parents=True)
    (settings.compliance_root / RESTRICTED_LIST).write_text(
        "instrument_id,list_name,from_session,to_session,reason\n"
        "US.PM,insider,2009-08-01,2010-08-31,an example\n"
    )
    result = run(settings, [(MONTHS[0], MONTHS[-1])])
    assert result.success
    return settings
