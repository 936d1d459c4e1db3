"""Rendered reports as files that a person opens."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


class ReportStore:
    """One HTML file per month under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(self, month: str) -> Path:
        """Return where the report of a month (its first day) lies."""
        return self.root / f"{month[:7]}.html"

    def put(self, month: str, html: str) -> Path:
        """Write a month's report; a reader sees the whole old file or the whole new one."""
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.path_of(month)
        handle, temporary = tempfile.mkstemp(dir=self.root)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(html)
        Path(temporary).replace(path)
        path.chmod(0o644)
        return path
