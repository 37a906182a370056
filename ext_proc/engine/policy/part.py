"""What several mappings of a policy document have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Tag

from headrace.ext_proc.engine.policy.values import MAX_NAME, FileName, by_key


class Part(BaseModel):
    """A mapping of the document: unknown keys are refused, values are not changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EnvSecret(Part):
    """A secret in the environment of the service."""

    env: Annotated[str, Field(min_length=1, max_length=MAX_NAME)] = Field(description="The name of the variable.")


class FileSecret(Part):
    """A secret in a file of its own."""

    file: FileName = Field(description="The file, relative to the policy file; a line break at its end is not part of the secret.")


Secret = Annotated[Annotated[EnvSecret, Tag("env")] | Annotated[FileSecret, Tag("file")], by_key("env", "file")]
