"""The JSON Schema of a whole policy, with the settings of every installed filter; editors complete and check with it."""

import copy
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.engine.settings import FilterSettings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MODE: Literal["validation"] = "validation"


def policy_schema(filters: Mapping[str, type[FilterSettings]]) -> dict[str, Any]:
    """A JSON Schema that accepts what the compiler accepts, as far as one value can tell. filters: settings by name."""
    models: list[type[BaseModel]] = [PolicyDocument, *filters.values()]
    references, definitions = models_json_schema([(model, MODE) for model in models], ref_template="#/$defs/{model}")
    defs = copy.deepcopy(definitions["$defs"])
    document = defs.pop(_name(references[PolicyDocument, MODE]))
    settings = {name: _name(references[model, MODE]) for name, model in filters.items()}
    document["properties"]["filters"]["items"] = {"oneOf": [_entry(name, ref) for name, ref in settings.items()]}
    defs["Override"]["properties"]["set"] |= {
        "properties": {name: _partial(defs[ref]) for name, ref in settings.items()},
        "additionalProperties": False,
    }
    return {"$schema": DIALECT, **document, "$defs": defs}


def _name(reference: Mapping[str, Any]) -> str:
    return str(reference["$ref"]).rsplit("/", 1)[-1]


def _entry(name: str, definition: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"$ref": f"#/$defs/{definition}"}},
        "required": [name],
        "additionalProperties": False,
    }


def _partial(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of which an override gives some."""
    return {key: value for key, value in settings.items() if key != "required"}
