"""The book: one pure step that decides, books fills and values, whichever driver calls it."""
