"""What a model may know of an instrument at the close of a session: declared, computed, scanned."""
