"""What a request needs of each model that may serve it: counted once for each tokenizer."""

from collections.abc import Sequence

from headrace.ext_proc.core.facts import INPUT_TOKENS, PLACEMENT
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.engine.policy.catalogue import Catalogue
from headrace.ext_proc.engine.policy.models import Model, TemplateFile, TokenizerFile
from headrace.ext_proc.engine.prices import Prices
from headrace.ext_proc.engine.tokens import Counted, Found, Tokens
from headrace.filters.routing.offers import Offer
from headrace.filters.routing.weighing import Asked

_By = tuple[str | TokenizerFile, str | TemplateFile]


class Needs:
    """Of one policy."""

    def __init__(self, tokens: Tokens, catalogue: Catalogue) -> None:
        self._tokens = tokens
        self._catalogue = catalogue
        self._prices = Prices(catalogue)

    async def of(self, request: Request, model: Model, offers: Sequence[Offer]) -> Sequence[tuple[Offer, Asked]]:
        """model: the entry that was asked for, whose count other filters may know already."""
        found: dict[_By, Found] = {}
        counts: dict[str, Counted] = {}
        prompt = request.call.prompt
        for served in {offer.model.name: offer.model for offer in offers}.values():
            if served.name == model.name:
                counts[served.name] = await self._tokens.of_request(request, served)
                continue
            by = _by(served)
            if by not in found:
                found[by] = await self._tokens.uncorrected(prompt, served)
            counts[served.name] = self._tokens.corrected(found[by], served)
        return [(offer, self._asked(request, offer, counts[offer.model.name])) for offer in offers]

    def at_most(self, request: Request, offers: Sequence[Offer]) -> Sequence[tuple[Offer, Asked]]:
        """The same by the prompt's bytes instead of its tokens; empty where that saves nothing, or a price depends on the count."""
        prompt = request.call.prompt
        if request.facts.get(INPUT_TOKENS) is not None or all(self._tokens.is_cheap(prompt, offer.model) for offer in offers):
            return ()
        found = {
            by: self._tokens.at_most(prompt, model) for by, model in {_by(offer.model): offer.model for offer in offers}.items()
        }
        bounds = [bound for bound in found.values() if bound is not None]
        if len(bounds) < len(found) or any(self._price(offer, 0) != self._price(offer, max(bounds)) for offer in offers):
            return ()
        return [(offer, self._asked(request, offer, Counted(max(bounds)))._replace(counted=False)) for offer in offers]

    def _asked(self, request: Request, offer: Offer, counted: Counted) -> Asked:
        call, model = request.call, offer.model
        answer = model.max_output if call.output_cap is None else call.output_cap
        price = self._price(offer, counted.tokens)
        return Asked(counted.tokens, answer, call.choices, request.facts.get(PLACEMENT), price, counted.estimate)

    def _price(self, offer: Offer, prompt: int) -> Price | None:
        """A pool that serves another model costs what that model does, where the catalogue has it."""
        return self._prices.of(self._catalogue.find(offer.served) or offer.model, offer.served, prompt)


def _by(model: Model) -> _By:
    """What a count depends on."""
    return model.tokenizer, model.template
