"""The demo's policy and keys, as files the user can open and change."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.engine import keys
from headrace.ext_proc.engine.key_files import write_keys

TEMPLATE = Path(__file__).with_name("policy.yaml")
CALLERS = {
    "ada": Principal(team="mill", app="workbench", user="ada", key="key_ada"),
    "grace": Principal(team="trial", app="import", user="grace", key="key_grace"),
}


@dataclass(frozen=True, slots=True)
class Files:
    """policy: its path, with the keys beside it. secrets: the API key of each caller."""

    policy: Path
    secrets: Mapping[str, str]


def write(directory: Path, standard: str, high_memory: str) -> Files:
    """Policy, keys and pepper in `directory`, for the pools at these URLs. Raises OSError."""
    policy = directory / "policy.yaml"
    policy.write_text(Template(TEMPLATE.read_text()).substitute(standard=standard, high_memory=high_memory))
    keys.make_pepper(directory / keys.PEPPER_NAME)
    pepper = keys.load_pepper(directory / keys.PEPPER_NAME, {})
    secrets = {name: keys.new_secret() for name in CALLERS}
    records = [_record(caller, keys.digest(pepper, secrets[name])) for name, caller in CALLERS.items()]
    write_keys(directory / "keys.yaml", tuple(records))
    return Files(policy, secrets)


def _record(caller: Principal, digest: str) -> keys.KeyRecord:
    return keys.KeyRecord(id=str(caller.key), digest=digest, team=caller.team, app=caller.app, user=caller.user)
