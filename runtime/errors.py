"""What a caller can do about a failure: try again, or give up.

Exception
├── Retryable       the same call may succeed later
│   ├── Unavailable     a dependency is down; says nothing about the work itself
│   └── StorageFull     there is no room left to write
└── Permanent       no retry can mend it
    └── ObjectNotFound
"""


class Retryable(Exception):
    """The same call may succeed later."""


class Unavailable(Retryable):
    """A dependency cannot be reached or is restarting; waiting is all that helps."""


class StorageFull(Retryable):
    """The store has no room left."""


class Permanent(Exception):
    """No retry can mend it. `reason` is a word for programs, the message a sentence for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class ObjectNotFound(Permanent):
    """The object store holds nothing under this key."""

    def __init__(self, key: str) -> None:
        super().__init__("object_not_found", f"No object is stored under {key}.")
