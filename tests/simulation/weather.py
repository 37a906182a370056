"""How rough a run is: drawn once, so that some runs are calm, and one kind of fault is not always met in the company of all."""

from dataclasses import dataclass

from tests.simulation.chance import Lane

LEVELS = (0.0, 0.02, 0.1, 0.3)


@dataclass(frozen=True)
class Weather:
    """How often what goes wrong, from 0 to 1: for each command, hook, exchange or entry of the log."""

    store: float
    filters: float
    clients: float
    upstreams: float
    logs: float
    crashes: float
    """Half of how often there is trouble at a moment that may have it, see trouble.py."""

    @classmethod
    def drawn(cls, lane: Lane) -> "Weather":
        levels = [LEVELS[lane.among(len(LEVELS), "weather")] for _ in range(6)]
        return cls(*levels)

    @property
    def is_calm(self) -> bool:
        return not any((self.store, self.filters, self.clients, self.upstreams, self.logs, self.crashes))
