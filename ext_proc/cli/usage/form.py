"""How a report is printed."""

from enum import StrEnum


class Form(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"
