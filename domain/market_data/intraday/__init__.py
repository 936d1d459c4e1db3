"""What happens within a session: bars from trades, the best quotes of all exchanges, depth."""
