"""What a request needs of each model that may serve it: counted once for each tokenizer."""

from collections.abc import Sequence

from headrace.ext_proc.core.facts import PLACEMENT
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.engine.policy.catalogue import Catalogue
from headrace.ext_proc.engine.policy.models import Model, TokenizerFile
from headrace.ext_proc.engine.prices import Prices
from headrace.ext_proc.engine.tokens import Counted, Tokens
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
        found: dict[str | TokenizerFile, int] = {}
        counts: dict[str, Counted] = {}
        prompt = request.call.prompt
        for served in {offer.model.name: offer.model for offer in offers}.values():
            if served.name == model.name:
                counts[served.name] = await self._tokens.of_request(request, served)
                continue
            if served.tokenizer not in found:
                found[served.tokenizer] = await self._tokens.uncorrected(prompt, served)
            counts[served.name] = self._tokens.corrected(found[served.tokenizer], prompt, served)
        return [(offer, self._asked(request, offer, counts[offer.model.name])) for offer in offers]

    def _asked(self, request: Request, offer: Offer, counted: Counted) -> Asked:
        call, model = request.call, offer.model
        answer = model.max_output if call.output_cap is None else call.output_cap
        price = self._price(offer, counted.tokens)
        return Asked(counted.tokens, answer, call.choices, request.facts.get(PLACEMENT), price, counted.estimate)

    def _price(self, offer: Offer, prompt: int) -> Price | None:
        """A pool that serves another model costs what that model does, where the catalogue has it."""
        return self._prices.of(self._catalogue.find(offer.served) or offer.model, offer.served, prompt)
