"""Every refusal the gateway can utter, as what a caller should do about it.

    Problem
    ├── Malformed          400  the request is not well-formed HTTP or multipart
    ├── NotFound           404  no such image or label set
    ├── TooSlow            408  the body did not arrive at the least rate
    ├── Conflict           409  what is there already is in the way
    ├── TooLarge           413  more bytes, parts or pixels than a limit allows
    ├── UnsupportedType    415  not one of the allowed types
    ├── Unusable           422  an allowed type that cannot be used, or a bad field
    ├── Overloaded         503  nothing was kept, try again later
    └── StorageFull        507  nothing was kept, an operator must make room

The caller of the API reads `detail`: it says what to change and names the setting behind a limit.
gateway/api/problem_json.py makes the answer.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

TYPE_PREFIX = "urn:problem-type:"
DEFAULT_RETRY_AFTER_S = 5


class Problem(Exception):
    """A refusal whose `detail` tells the client what to change.

    `headers` are sent with the answer; `errors` lists single fields, each with its loc and msg.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Problem"
    example: ClassVar[str] = "What was wrong and what to change."

    def __init__(
        self,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = [dict(error) for error in errors]

    @classmethod
    def type_uri(cls) -> str:
        """The stable name of this kind of problem, for programs to switch on."""
        return TYPE_PREFIX + re.sub(r"(?<=[a-z])(?=[A-Z])", "-", cls.__name__).lower()


class Malformed(Problem):
    status = 400
    title = "Malformed request"
    example = "The multipart body is malformed. Let an HTTP library write it, boundary included."


class NotFound(Problem):
    status = 404
    title = "Not found"
    example = "There is no image 7."


class TooSlow(Problem):
    """The connection closes behind the answer: the rest would be taken for the next request."""

    status = 408
    title = "Request too slow"
    example = "The body came at less than 16384 bytes a second (GATEWAY_BODY_MIN_RATE_BYTES_S)."

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Connection": "close"})


class Conflict(Problem):
    status = 409
    title = "Conflict"
    example = "Image 7 is still PROCESSING; its embedding comes with its labels."


class TooLarge(Problem):
    status = 413
    title = "Too large"
    example = (
        "The file is larger than 10000000 bytes (GATEWAY_MAX_UPLOAD_BYTES); send a smaller one."
    )


class UnsupportedType(Problem):
    status = 415
    title = "Unsupported type"
    example = "This is a GIF. Send JPEG, PNG or WebP."


class Unusable(Problem):
    status = 422
    title = "Cannot be used"
    example = "The JPEG is cut off: its last scan has no end. Send the whole file."


class Overloaded(Problem):
    status = 503
    title = "Overloaded"
    example = "A part of the service is not available; try again shortly."

    def __init__(self, detail: str, *, retry_after_s: int = DEFAULT_RETRY_AFTER_S) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class StorageFull(Problem):
    status = 507
    title = "Storage full"
    example = "There is no room left to store this; nothing was kept."
