"""The service in a world of its own: one seed decides the time, the order, the faults and the crashes. See docs/simulation.md."""
