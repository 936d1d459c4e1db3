"""Reference data written by hand, and ways to read it."""

from orchestration.base.settings import Settings
from sources.file_drops import DropStore
from sources.reference_data.reference import read_reference

FB = {
    "maps/fb.1.csv": b"19990929,fb\n20030328,fb\n",
    "maps/fb.csv": b"20120518,fb,Q\n20501231,fb,Q\n",
    # Google: the old GOOG became GOOGL, a new class bore GOOCV for a week and then GOOG.
    "maps/goog.csv": b"20140327,goocv,Q\n20140402,goocv,Q\n20501231,goog,Q\n",
    "maps/googl.csv": b"20040819,goog,Q\n20140402,goog,Q\n20501231,googl,Q\n",
}


def read(home, files, toml):
    """Write files below a home with its ``sources.toml``; return what is read and the drops."""
    for name, data in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (home / "sources.toml").write_text(toml)
    store = DropStore(home / "drops")
    return read_reference(home / "sources.toml", store, Settings().sessions_between), store
