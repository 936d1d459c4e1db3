"""One thin module per workflow; reads like the platform's table of contents."""
