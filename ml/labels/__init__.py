"""What happened next: forward returns, barriers, and whether a side was right."""
