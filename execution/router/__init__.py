"""Smart order routing: one child of an algo in, slices to brokers out; pure and deterministic.

``machine.advance(state, event, now_ns) -> (RouterState, outputs)``. Outputs are slices to send and
to cancel, and the events that the algo is to be told. The service does not call these modules yet.
"""
