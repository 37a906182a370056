"""Erasure: a tenant's data keys destroyed, so that its bodies say nothing any more, and a line in the manifest that says so."""

from collections.abc import Sequence
from datetime import UTC, datetime

from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.manifest import ERASED, Manifest
from headrace.ext_proc.audit.removal import remove_before
from headrace.ext_proc.audit.signing import load_signer
from headrace.ext_proc.audit.terms import Terms
from headrace.ext_proc.audit.vault import Tenant, erased


def now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def manifest_of(terms: Terms) -> Manifest:
    """Raises AuditError without the signing key."""
    home = Home(terms.directory)
    return Manifest(home, load_signer(home.keys, terms.signing_key), now_ms)


def erase(terms: Terms, tenant: Tenant, by: str) -> Sequence[str]:
    """The ids of the keys that are gone; none where the tenant had none. Raises AuditError and OSError.

    The manifest is written first: what it says was erased may still be there after a crash, and then is erased again.
    """
    manifest = manifest_of(terms)
    with manifest.held() as held:
        held.append(ERASED, {"tenant": list(tenant), "by": by})
        return erased(Home(terms.directory), tenant)


def remove(terms: Terms, before_ms: int) -> int:
    """Deletes complete segments whose last record is older; how many. Raises AuditError and OSError."""
    return remove_before(Home(terms.directory), manifest_of(terms), before_ms)
