"""A model's labels under Presidio's names for them."""

import re
from collections.abc import Mapping

_PREFIX = re.compile(r"^[BILUES]-")

_NAMES: Mapping[str, str] = {
    "ADDRESS": "LOCATION",
    "BANK_ACCOUNT": "US_BANK_NUMBER",
    "BUILDING_NUMBER": "LOCATION",
    "CITY": "LOCATION",
    "DRIVERS_LICENSE": "US_DRIVER_LICENSE",
    "EMAIL": "EMAIL_ADDRESS",
    "FAC": "LOCATION",
    "GIVEN_NAME": "PERSON",
    "GPE": "LOCATION",
    "LOC": "LOCATION",
    "NORP": "NRP",
    "ORG": "ORGANIZATION",
    "PASSPORT": "US_PASSPORT",
    "PER": "PERSON",
    "PHONE": "PHONE_NUMBER",
    "ROUTING_NUMBER": "ABA_ROUTING_NUMBER",
    "SECONDARY_ADDRESS": "LOCATION",
    "STATE": "LOCATION",
    "STREET_NAME": "LOCATION",
    "SURNAME": "PERSON",
    "ZIP_CODE": "LOCATION",
}
# spaCy's labels for numbers and works of art; dates have a pattern of Presidio's.
_AMOUNTS = frozenset({"CARDINAL", "ORDINAL", "QUANTITY", "PERCENT", "MONEY"})
_WORKS = frozenset({"MISC", "LANGUAGE", "LAW", "EVENT", "PRODUCT", "WORK_OF_ART"})
NO_ENTITIES = frozenset({"O", ""}) | _AMOUNTS | _WORKS


def entity_of(label: str) -> str | None:
    """`B-GIVEN_NAME` is a PERSON, `ORG` an ORGANIZATION, `O` nothing; a label nobody knows is its own name."""
    bare = _PREFIX.sub("", label.upper())
    if bare in NO_ENTITIES:
        return None
    return _NAMES.get(bare, "DATE_TIME" if bare in ("DATE", "TIME") else bare)
