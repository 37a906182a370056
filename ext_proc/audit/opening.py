"""An audit log from outside the service: by its directory, or by the policy that names it, with what opens its bodies."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.ext_proc.audit.errors import AuditError, NoAuditLog
from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.masters import HOW, MasterKey, local_master
from headrace.ext_proc.audit.reading import Entry
from headrace.ext_proc.audit.terms import Terms, audit_terms_of
from headrace.ext_proc.audit.vault import Spot, Vault
from headrace.ext_proc.engine.clock import SystemClock
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.policy.catalogue import Catalogue
from headrace.ext_proc.engine.policy.lines import MAX_BYTES, parse, read_bytes
from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.engine.policy.problems import PolicyErrors, Problem, Where, spelled
from headrace.ext_proc.engine.policy.validation import validated
from headrace.ext_proc.engine.registry import Build, Ports
from headrace.ext_proc.stores.memory import MemoryStore

VARIABLE: Final = "HEADRACE_AUDIT_MASTER_KEY"
"""Holds a master key, where no file and no policy does."""


@dataclass(frozen=True, slots=True)
class Opened:
    """vault: None without a master key."""

    home: Home
    vault: Vault | None = None

    def body(self, entry: Entry, part: str) -> bytes | None:
        """None where the record has none, or no master key is given. Raises KeyGone and AuditError."""
        body = entry.line.bodies.get(part)
        if body is None or self.vault is None or "sealed" not in body:
            return None
        return self.vault.opened(body, Spot(entry.chain, entry.segment, entry.line.seq, part))


def opened(log: Path, key_file: Path | None = None, environ: Mapping[str, str] = os.environ) -> Opened:
    """log: the directory, or a policy. key_file: of a master key, in place of the policy's. Raises AuditError and PolicyErrors."""
    master = _master(key_file, environ)
    if log.is_dir():
        return _checked(Home(log), master)
    terms = policy_terms(log)
    return _checked(Home(terms.directory), master or terms.master)


def policy_terms(policy: Path) -> Terms:
    """What the policy says of its audit log. Raises PolicyErrors, and AuditError where it has none."""
    problems: list[Problem] = []
    located = parse(read_bytes(policy, MAX_BYTES), str(policy))

    def report(where: Where, message: str) -> None:
        problems.append(Problem(str(policy), located.line_of(where), spelled(where), message))

    document = validated(PolicyDocument, located.value, report)
    terms = None
    if document is not None:
        ports = Ports(MemoryStore(), SystemClock(), ThreadOffload())
        terms = audit_terms_of(Build(document, Catalogue(()), policy.parent, ports, (), report, set()))
    if problems:
        raise PolicyErrors(problems)
    if terms is None:
        raise NoAuditLog(f"{policy} has no audit log; add audit: {{directory: audit}}")
    return terms


def _checked(home: Home, master: MasterKey | None) -> Opened:
    if not home.manifest.exists():
        raise AuditError(f"{home.path} is no audit log: it has no manifest.jsonl")
    return Opened(home, Vault(home, master) if master is not None else None)


def _master(key_file: Path | None, environ: Mapping[str, str]) -> MasterKey | None:
    """Raises AuditError."""
    if key_file is None and VARIABLE not in environ:
        return None
    try:
        text, source = (key_file.read_text("utf-8"), str(key_file)) if key_file else (environ[VARIABLE], VARIABLE)
    except (OSError, UnicodeDecodeError) as error:
        raise AuditError(f"{key_file}: {getattr(error, 'strerror', None) or 'is no text'}") from None
    if (master := local_master(text)) is None:
        raise AuditError(f"{source}: {HOW}")
    return master
