"""The policy's `audit`: where decisions are kept, what of their bodies, and what happens when there is no room."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, Tag

from headrace.ext_proc.engine.policy.part import EnvSecret, FileSecret, Part
from headrace.ext_proc.engine.policy.problems import Where
from headrace.ext_proc.engine.policy.values import MAX_NAME, FileName, Identifier, by_key


class Kms(Part):
    """A key that a key management service keeps."""

    kms: Identifier = Field(
        description="The name of an entry point of the group headrace.master_keys, of a package that is installed."
    )
    key: Annotated[str, Field(min_length=1, max_length=MAX_NAME)] = Field(description="What that service calls the key.")


MasterKeySource = Annotated[
    Annotated[EnvSecret, Tag("env")] | Annotated[FileSecret, Tag("file")] | Annotated[Kms, Tag("kms")], by_key("env", "file", "kms")
]


class Audit(Part):
    """Every decision and every settlement, chained and signed, on disk."""

    directory: FileName = Field(description="Where it is kept, relative to the policy file; made where it is not there.")
    bodies: Literal["none", "hashed", "encrypted"] = Field(
        "none",
        description="What is kept of requests, and of answers that Headrace reads. hashed: whether a text was sent can be shown. "
        "encrypted: who has the master key can read them.",
    )
    master_key: MasterKeySource | None = Field(
        None,
        description="It opens the tenants' data keys: {env: NAME} or {file: path} of 32 bytes in base64, or {kms: NAME, key: ID}.",
    )
    keys_per: Literal["organisation", "team", "user"] = Field(
        "team",
        description="Whose bodies share a data key, and are erased with it. team: each team of each organisation has its own.",
    )
    max_body_kb: int = Field(1024, ge=1, le=65_536, description="Of an encrypted body, so much is kept; a hash is over all of it.")
    segment_mb: int = Field(64, ge=1, le=4096, description="A file of the log is sealed at this size, or after a day.")
    max_disk_mb: int = Field(
        10_240, ge=2, le=1_000_000_000, description="What all files of the log may take; then `on_full` decides."
    )
    keep_days: int | None = Field(
        None, ge=1, le=36_500, description="Sealed files whose last record is older are deleted. Absent: nothing is."
    )
    on_full: Literal["block", "drop-and-count"] = Field(
        "block",
        description="block: a request is forwarded when its decision is on disk, and refused with 503 audit.unavailable where that "
        "takes too long. drop-and-count: requests never wait; what cannot be written is counted, in the log, too.",
    )
    wait_ms: int = Field(
        1000, ge=1, le=30_000, description="With block: milliseconds a request waits for its record, and for room."
    )
    signing_key: FileName | None = Field(
        None, description="Where the key that signs is kept, relative to the policy file; made where it is not there. By default "
        "keys/signing.key in the directory."
    )  # fmt: skip


def auditing_is_complete(audit: Audit | None) -> Iterator[tuple[Where, str]]:
    """What does not hold between the settings."""
    if audit is None:
        return
    if audit.bodies != "none" and audit.master_key is None:
        yield ("audit", "bodies"), f"{audit.bodies} bodies need a master_key, such as {{file: master.key}}"
    if audit.bodies == "none" and audit.master_key is not None:
        yield ("audit", "master_key"), "is of no use: no bodies are kept; say bodies: hashed or bodies: encrypted"
    if audit.max_disk_mb < 2 * audit.segment_mb:
        message = f"must hold two segments, {2 * audit.segment_mb}; only sealed segments are ever deleted"
        yield ("audit", "max_disk_mb"), message
    if audit.on_full != "block" and "wait_ms" in audit.model_fields_set:
        yield ("audit", "wait_ms"), "is of no use: with drop-and-count no request waits"
