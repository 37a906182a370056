"""What a policy says of the audit log, ready to be acted on: its directory found, its master key read."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from headrace.ext_proc.audit.errors import AuditError
from headrace.ext_proc.audit.masters import HOW, MasterKey, kms_master, local_master
from headrace.ext_proc.audit.vault import Bodies
from headrace.ext_proc.engine.policy.auditing import Audit, Kms
from headrace.ext_proc.engine.policy.part import EnvSecret, FileSecret
from headrace.ext_proc.engine.policy.problems import Where
from headrace.ext_proc.engine.registry import Build, FilterError

MB = 1_000_000
MOST_KEY = 4096


@dataclass(frozen=True)
class Terms:
    """master: None where no bodies are kept. Two that are equal need no new chain."""

    settings: Audit
    directory: Path
    signing_key: Path | None = None
    master_id: str = ""
    master: MasterKey | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Terms) and self._same == other._same

    def __hash__(self) -> int:
        return hash(self._same)

    @property
    def _same(self) -> tuple[Audit, Path, str]:
        return self.settings, self.directory, self.master_id

    @property
    def blocks(self) -> bool:
        return self.settings.on_full == "block"

    @property
    def bodies(self) -> Bodies:
        return self.settings.bodies

    @property
    def segment_bytes(self) -> int:
        return self.settings.segment_mb * MB

    @property
    def most_bytes(self) -> int:
        return self.settings.max_disk_mb * MB


def audit_terms_of(build: Build) -> Terms | None:
    """None where the policy has no audit log. Reports a master key that cannot be read or used."""
    settings = build.document.audit
    if settings is None:
        return None
    master = _master(settings, build) if settings.master_key is not None else None
    signing_key = build.base / settings.signing_key if settings.signing_key else None
    return Terms(settings, build.base / settings.directory, signing_key, master.id if master else "", master)


def _master(settings: Audit, build: Build) -> MasterKey | None:
    where: Where = ("audit", "master_key")
    match settings.master_key:
        case EnvSecret(env=name):
            return _local(os.environ.get(name), f"the environment variable {name}", (*where, "env"), build)
        case FileSecret(file=name):
            path = build.file((*where, "file"), name)
            return (
                _local(path.read_bytes()[:MOST_KEY].decode("utf-8", "replace"), str(path), (*where, "file"), build)
                if path
                else None
            )
        case Kms(kms=kms, key=key):
            return _kms(kms, key, (*where, "kms"), build)
        case None:
            return None
        case _:
            assert_never(settings.master_key)


def _local(text: str | None, source: str, where: Where, build: Build) -> MasterKey | None:
    if text is None:
        build.problem(where, f"{source} is not set; it {HOW}")
        return None
    if (master := local_master(text)) is None:
        build.problem(where, f"{source} {HOW}")
    return master


def _kms(kms: str, key: str, where: Where, build: Build) -> MasterKey | None:
    try:
        return kms_master(kms, key)
    except (AuditError, FilterError) as error:
        build.problem(where, str(error))
        return None
