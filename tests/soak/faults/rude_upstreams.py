"""A pool's place is taken by a server without manners."""

from random import Random
from typing import ClassVar

from tests.soak.faults.base import Bound, Fault, Place, Window
from tests.soak.faults.links import Proxies
from tests.soak.faults.rude import MANNERS, RudeUpstream
from tests.soak.faults.striking import hold, striking
from tests.soak.site import Site


class RudePool(Fault):
    """Whoever is connected to the pool is cut off; who comes meanwhile is answered rudely. No such answer says what it used."""

    kind: ClassVar[str] = "rude-upstream"

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies

    async def strike(self, site: Site, random: Random) -> Window:
        pools, manner = self._proxies.at(Place.UPSTREAMS), random.choice(sorted(MANNERS))
        name = random.choice(sorted(pools))
        proxy, right = pools[name], pools[name].target
        bound = Bound.REFUSED | Bound.CUT | Bound.AS_RESERVED | Bound.UNCOUNTED
        async with striking(site, self.kind, bound, f"{name} {manner}") as course, RudeUpstream(manner) as rude:
            try:
                proxy.target = rude.address
                proxy.reset()
                await hold(random, 0.5, 3.0)
            finally:
                proxy.target = right
                proxy.reset()
        return course.window
