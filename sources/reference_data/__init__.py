"""Reference data of a desk: who the instruments are, what happened to them, who is in an index."""
