"""What a policy would do with a request, and why, as a document."""

import json
from collections.abc import Mapping
from typing import Any

from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.engine.clock import SystemClock
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.trial import Asked, Played, Trial
from headrace.ext_proc.engine.warming import warm
from headrace.ext_proc.stores.memory import MemoryStore


async def explained(policy: Policy, store: MemoryStore, asked: Asked, who: Principal | None) -> dict[str, Any]:
    """Each filter's decision, what would be sent or refused, and who took part in the routing. Counters begin empty.

    store: the one that the policy was compiled with.
    """
    store.clear()
    async with Trial(warm(policy, ThreadOffload()), store, SystemClock()) as trial:
        played = await trial.play(asked, who=who)
    kept = {name: played.record[name] for name in ("principal", "endpoint", "model", "stream") if name in played.record}
    return {**kept, **_outcome(played), "filters": played.record.get("steps", []), "routing": _routing(played.record)}


def _outcome(played: Played) -> Mapping[str, Any]:
    """`refused` with what the caller gets, or `sent` with what the upstream gets besides what the client sent."""
    if played.sent is None:
        assert played.got is not None, "who is refused gets an answer"
        return {"refused": {"status": played.got.status, "code": played.refused, "body": json.loads(played.got.body)}}
    return {
        "sent": {
            "set_headers": dict(played.sent.edits.set_headers),
            "remove_headers": list(played.sent.edits.remove_headers),
            "body": "unchanged" if played.sent.body is None else json.loads(played.sent.body),
        }
    }


def _routing(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """As far as the routing filter came; its absence, or a refusal before it, leaves it empty."""
    step: Mapping[str, Any] = next((one for one in record.get("steps", ()) if one["filter"] == "routing"), {})
    note = step.get("note", {})
    chosen = record.get("metadata", {}).get("route") if step.get("outcome") == "continue" else None
    tokens = note.get("input_tokens", record.get("input_tokens"))
    reason = step.get("reason") or record.get("reason") or None
    return {"input_tokens": tokens, "candidates": note.get("candidates", []), "chosen": chosen, "reason": reason}
