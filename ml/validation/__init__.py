"""What evaluations were worth, and whether the champion still stands where it was judged."""
