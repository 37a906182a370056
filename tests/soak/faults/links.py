"""The proxies between the site's processes, and what they do to whoever is connected."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar

from tests.soak.faults.base import Bound, Fault, Place, Port, Window
from tests.soak.faults.network import CLEAR, Weather
from tests.soak.faults.proxy import Address, FaultProxy
from tests.soak.faults.striking import hold, striking
from tests.soak.site import Site


class Proxies:
    """A `Splicer` that puts a proxy into every link."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._proxies: dict[tuple[Place, str], FaultProxy] = {}

    async def splice(self, place: Place, name: str, target: Port) -> Port:
        proxy = FaultProxy(Address(target.host, target.port), seed=self._seed + len(self._proxies))
        await proxy.start()
        self._proxies[place, name] = proxy
        return Port(proxy.address.host, proxy.address.port)

    async def close(self) -> None:
        for proxy in self._proxies.values():
            await proxy.stop()

    def at(self, place: Place) -> Mapping[str, FaultProxy]:
        """By name."""
        return {name: proxy for (at, name), proxy in self._proxies.items() if at is place}


@dataclass(frozen=True)
class Trouble:
    """weather: while it lasts. begin: done to the proxy at its start. breaks: connections end of it, before they would."""

    weather: Weather = CLEAR
    begin: Callable[[FaultProxy], object] = field(default=lambda proxy: None)
    breaks: bool = True


def _take_down(proxy: FaultProxy) -> None:
    proxy.down = True
    proxy.reset()


TROUBLES: Mapping[str, Trouble] = {
    "latency": Trouble(Weather(latency_s=0.02, jitter_s=0.03), breaks=False),
    "split": Trouble(Weather(split=True), breaks=False),
    "bandwidth": Trouble(Weather(bytes_per_s=4_000_000), breaks=False),
    "loss": Trouble(Weather(lost=0.05, stalled_s=0.2, cut=0.2)),
    "reset": Trouble(begin=FaultProxy.reset),
    "silence": Trouble(begin=FaultProxy.vanish),
    "half-open": Trouble(begin=lambda proxy: proxy.vanish(server_knows=True)),
    "down": Trouble(begin=_take_down),
}


class BadNetwork(Fault):
    """One link at `place` has trouble for a while; who is silent by then is reset at its end, as by a peer that is back."""

    place: ClassVar[Place]
    bound: ClassVar[Bound]
    """Of trouble that breaks connections; of other trouble it is `unbroken`."""
    unbroken: ClassVar[Bound] = Bound.NOTHING

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies

    async def strike(self, site: Site, random: Random) -> Window:
        name, trouble = random.choice(sorted(self._proxies.at(self.place))), random.choice(sorted(TROUBLES))
        proxy, what = self._proxies.at(self.place)[name], TROUBLES[trouble]
        bound = self.bound if what.breaks else self.unbroken
        async with striking(site, self.kind, bound, f"{name} {trouble}") as course:
            try:
                proxy.weather = what.weather
                what.begin(proxy)
                await hold(random, 0.5, 4.0)
            finally:
                proxy.weather, proxy.down = CLEAR, False
                proxy.bury()
        return course.window


class NetworkOfCallers(BadNetwork):
    """Whoever is cut off has hung up, as far as Envoy can see."""

    kind: ClassVar[str] = "network-callers"
    place: ClassVar[Place] = Place.CALLERS
    bound: ClassVar[Bound] = Bound.CUT | Bound.AS_RESERVED


class NetworkOfUpstreams(BadNetwork):
    kind: ClassVar[str] = "network-upstreams"
    place: ClassVar[Place] = Place.UPSTREAMS
    bound: ClassVar[Bound] = Bound.REFUSED | Bound.CUT | Bound.AS_RESERVED | Bound.UNCOUNTED


class NetworkOfStore(BadNetwork):
    """Calls are repeated and settlements wait: nothing but time is lost."""

    kind: ClassVar[str] = "network-store"
    place: ClassVar[Place] = Place.STORE
    bound: ClassVar[Bound] = Bound.REFUSED


class NetworkOfService(BadNetwork):
    """With the connection go its exchanges, and entries of the access log."""

    kind: ClassVar[str] = "network-service"
    place: ClassVar[Place] = Place.SERVICE
    bound: ClassVar[Bound] = Bound.REFUSED | Bound.CUT | Bound.AS_RESERVED | Bound.UNCOUNTED | Bound.UNRECORDED


def networks(proxies: Proxies, *, tcp: bool) -> Sequence[Fault]:
    """tcp: whether Envoy calls the service over TCP."""
    always = (NetworkOfCallers(proxies), NetworkOfUpstreams(proxies), NetworkOfStore(proxies))
    return (*always, NetworkOfService(proxies)) if tcp else always
