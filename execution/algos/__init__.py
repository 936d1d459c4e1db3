"""Algos: a parent order in, child orders out; pure, deterministic, bounded.

``machine.start(parent, algo, tactic) -> AlgoState`` and
``machine.advance(state, event, now_ns) -> (AlgoState, intents)``. No clock, no I/O, no randomness
but a declared seed's. ``bounds`` is the only module that makes a child order, and holds every
limit: quantity, price, time, participation. The service does not call these modules yet.
"""
