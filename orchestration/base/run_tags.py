"""What every run says about itself: as of which session, for which book, in which mode."""

from __future__ import annotations

from orchestration.base.settings import Settings

SESSION = "quantivista/session"
BOOK = "quantivista/book"
MODE = "quantivista/mode"


def run_tags(settings: Settings) -> dict[str, str]:
    """Return the tags of a run that starts now.

    The session is the last one that has closed; the mode is that of the session after it, for
    which the run decides: ``backtest`` before the book goes live.
    """
    live = settings.go_live_session
    is_live = live is not None and settings.next_session() >= live
    return {
        SESSION: settings.last_session().isoformat(),
        BOOK: settings.book,
        MODE: settings.mode if is_live else "backtest",
    }
