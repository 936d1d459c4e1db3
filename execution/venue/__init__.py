"""The paper venue: a FIX acceptor with an order book per instrument, fed from bars.

Its own process and its own truth. The service is tested against it, so it shares with the service
only the reading of FIX fields and the price scale: not the order state, not the journal.
"""
