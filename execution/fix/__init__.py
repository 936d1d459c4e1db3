"""FIX 4.4: reading and writing messages, and the session with the broker."""
