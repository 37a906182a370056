"""Times as people give them on the command line."""

from datetime import UTC, datetime, timedelta

import typer

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str, now: datetime, option: str) -> datetime:
    """`12h`, `90d`, `8w` from now, or a date to come (UTC unless it has an offset). Raises BadParameter for anything else."""
    hint = f"{text!r} is neither a time from now (12h, 90d, 8w) nor a date to come (2027-01-31, 2027-01-31T12:00:00Z)"
    try:
        if text[-1:] in _UNITS and text[:-1].isdecimal():
            return now.replace(microsecond=0) + timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
        end = datetime.fromisoformat(text)
        end = (end if end.tzinfo else end.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(hint, param_hint=option) from None
    if end <= now:
        raise typer.BadParameter(hint, param_hint=option)
    return end


def instant(text: str, option: str) -> int:
    """A day or an instant, UTC unless it has an offset, as epoch ms. Raises BadParameter."""
    from headrace.ext_proc.engine.usage.reading import instant_of

    try:
        return instant_of(text)
    except ValueError:
        said = f"{text!r} is no day or instant such as 2026-11-01 or 2026-11-01T12:00"
        raise typer.BadParameter(said, param_hint=option) from None
