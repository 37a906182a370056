"""What a request needs of each model that may serve it: counted once for each tokenizer."""

from collections.abc import Sequence

from headrace.ext_proc.core.facts import PLACEMENT
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.engine.policy.catalogue import Catalogue
from headrace.ext_proc.engine.policy.models import Model
from headrace.ext_proc.engine.prices import Prices
from headrace.ext_proc.engine.tokens import Tokens
from headrace.filters.routing.offers import Offer
from headrace.filters.routing.weighing import Asked


class Needs:
    """Of one policy."""

    def __init__(self, tokens: Tokens, catalogue: Catalogue) -> None:
        self._tokens = tokens
        self._catalogue = catalogue
        self._prices = Prices(catalogue)

    async def of(self, request: Request, model: Model, offers: Sequence[Offer]) -> Sequence[tuple[Offer, Asked]]:
        """model: the entry that was asked for, whose count other filters may know already."""
        counts = {}
        for offer in offers:
            if offer.model.tokenizer not in counts:
                counts[offer.model.tokenizer] = await self._count(request, model, offer.model)
        return [(offer, self._asked(request, offer, counts[offer.model.tokenizer])) for offer in offers]

    async def _count(self, request: Request, asked: Model, model: Model) -> int:
        if model.tokenizer == asked.tokenizer:
            return await self._tokens.of_request(request, model)
        return await self._tokens.of_prompt(request.call.prompt, model)

    def _asked(self, request: Request, offer: Offer, prompt: int) -> Asked:
        call, model = request.call, offer.model
        answer = model.max_output if call.output_cap is None else call.output_cap
        return Asked(prompt, answer, call.choices, request.facts.get(PLACEMENT), self._price(offer, prompt))

    def _price(self, offer: Offer, prompt: int) -> Price | None:
        """A pool that serves another model costs what that model does, where the catalogue has it."""
        return self._prices.of(self._catalogue.find(offer.served) or offer.model, offer.served, prompt)
