"""An operator's clicks in the real UI: launch a backfill, see it succeed, look at what it built.

With QUANTIVISTA_SCREENSHOTS=docs/images the pictures of the guides are taken anew.
"""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.integration.dagster_platform import Platform
from tests.orchestration.chain import write_vendor_files

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
QUIET = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic",
]  # fmt: skip
BACKFILL_TIMEOUT_MS = 200_000
PAGE_TIMEOUT_MS = 60_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: chromium)"),
]


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    root = tmp_path_factory.mktemp("ui")
    vendor = write_vendor_files(root / "vendor", every=20)
    running = Platform(root / "home", vendor, {"QUANTIVISTA_NOW": "2009-10-30T20:00:00Z"})
    try:
        running.command("ingest")
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def page(platform):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        opened = browser.new_page(viewport={"width": 1500, "height": 950})
        opened.set_default_timeout(PAGE_TIMEOUT_MS)
        expect.set_options(timeout=PAGE_TIMEOUT_MS)
        yield opened
        browser.close()


@pytest.fixture(scope="module")
def go(platform, page):
    def to(path):
        page.goto(f"http://127.0.0.1:{platform.port}{path}")
        return page

    return to


@pytest.fixture(scope="module")
def keep(page, tmp_path_factory):
    pictures = Path(os.environ.get("QUANTIVISTA_SCREENSHOTS") or tmp_path_factory.mktemp("shots"))

    def screenshot(name):
        page.screenshot(path=pictures / f"{name}.png")

    return screenshot


@pytest.fixture(scope="module")
def backfills(go, page, platform, keep):
    """The page of the backfills after one was launched with clicks and had its time."""
    # The server answers before it has loaded the definitions.
    platform.query("{ assetNodes { id } }")
    go("/locations/quantivista/jobs/backfill")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.get_by_text("3 partitions")).to_be_visible()
    keep("ui-launch-backfill")
    page.get_by_role("button", name="Launch backfill").click()
    expect(page.get_by_text("Preview")).to_be_hidden()
    go("/runs?view=backfills")
    expect(page.locator("body")).to_contain_text("Success", timeout=BACKFILL_TIMEOUT_MS)
    keep("ui-backfill")
    return page.locator("body").inner_text()


def test_a_backfill_launched_with_clicks_succeeds(backfills):
    assert "3 partitions" in backfills
    assert "Success" in backfills


@pytest.mark.usefixtures("backfills")
def test_a_table_shows_its_months_its_metadata_and_its_checks(go, page, keep):
    go("/assets/market_data/bars?view=overview")
    body = page.locator("body")
    for text in ("canonical_hash", "first_session", "2009-08-21", "Row count", "Delta Lake"):
        expect(body).to_contain_text(text)
    keep("ui-table")
    go("/assets/market_data/bars?view=checks")
    expect(body).to_contain_text("usable")
    expect(body).to_contain_text("Passed")
    expect(body).to_contain_text("This is a blocking asset check.")
    keep("ui-checks")
    go("/assets/portfolio_management/equity?view=partitions")
    expect(body).to_contain_text("Materialized (3)")
    expect(body).to_contain_text("Missing (0)")


@pytest.mark.usefixtures("backfills")
def test_the_runs_say_of_which_session_they_are(go, page, keep):
    go("/runs")
    body = page.locator("body")
    expect(body).to_contain_text("quantivista/session: 2009-10-30")
    expect(body).to_contain_text("quantivista/mode: backtest")
    keep("ui-runs")
