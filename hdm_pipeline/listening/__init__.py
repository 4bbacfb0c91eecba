"""Deliveries as they come: an inbox, a watched folder, a queue, and a run for each."""
