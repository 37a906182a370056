"""Meters that tests read."""


class Counts:
    def __init__(self) -> None:
        self.records = 0
        self.lost = 0
        self.failures = 0

    def written(self, records: int, size: int, seconds: float) -> None:
        self.records += records

    def dropped(self, records: int) -> None:
        self.lost += records

    def failed(self) -> None:
        self.failures += 1
