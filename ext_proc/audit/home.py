"""Where everything of an audit log is kept, below its directory.

manifest.jsonl                  which chains there are, which segments were sealed, removed, which keys erased
chains/<chain>/000001.jsonl     a worker's records from its start to its end, segment by segment
keys/signing.key, signing.pub   signs checkpoints, checks them
keys/tenants/<hash>.json        a tenant's data key, wrapped by the master key
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.ext_proc.audit.files import private_directory


@dataclass(frozen=True, slots=True)
class Home:
    path: Path

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.jsonl"

    @property
    def chains(self) -> Path:
        return self.path / "chains"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def tenants(self) -> Path:
        return self.keys / "tenants"

    def make(self) -> None:
        """Raises AuditError."""
        for directory in (self.path, self.chains, self.keys, self.tenants):
            private_directory(directory)

    def chain(self, name: str) -> Path:
        return self.chains / name

    def segment(self, chain: str, number: int) -> Path:
        return self.chains / chain / f"{number:06}.jsonl"

    def names(self) -> Sequence[str]:
        """Of the chains that have a directory, in order of their start."""
        return sorted(path.name for path in self.chains.iterdir() if path.is_dir()) if self.chains.is_dir() else []

    def segments(self, chain: str) -> Sequence[Path]:
        """The chain's files, in order."""
        return sorted(self.chain(chain).glob("[0-9]*.jsonl"))
