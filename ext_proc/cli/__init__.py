"""The command `headrace`. A command's module is imported when it is called, so that `headrace --help` is there at once."""

from headrace.ext_proc.cli.lazy import application


def main() -> None:
    """The entry point."""
    application()()
