"""The one exception of the exporter: what keeps a model from being exported, and what to do."""

USAGE = 2  # as argparse exits
FAILED = 1


class CannotExport(Exception):
    """Nothing was installed; the message says why, and what to do about it."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def wrong_usage(message: str) -> CannotExport:
    return CannotExport(message, USAGE)
