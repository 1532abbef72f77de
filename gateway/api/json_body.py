"""The bytes of a JSON body come off the wire, bounded; a value comes out, or a clear refusal."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from gateway.api.body import Body, Pace
from gateway.problems import (
    Malformed,
    Problem,
    TooLarge,
    UnsupportedType,
    Unusable,
)

JSON = "application/json"
PROBLEM_EXAMPLES: dict[type[Problem], str] = {
    Malformed: "The body is not JSON: Expecting value: line 1 column 1 (char 0).",
    TooLarge: "The body is larger than 3000000 bytes (GATEWAY_MAX_JSON_BYTES). Send less at once.",
    UnsupportedType: f"Send the body as {JSON}, and say so in Content-Type.",
    Unusable: "labels[1] is labels[0] again: 'cat'.",
}
MAX_DIGITS = 20  # of a whole number: 2^64 has 20; long ones take quadratic time to read
MAX_KEY_CHARS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class JsonLimits(Pace):
    max_json_bytes: int = 3_000_000


async def read_json(
    request: Request, limits: JsonLimits, clock: Callable[[], float] = time.monotonic
) -> bytes:
    """The body, unparsed. Raises TooLarge, TooSlow or UnsupportedType, and ClientDisconnect."""
    data = bytearray()
    body = Body(request, limits, limits.max_json_bytes, lambda: _too_large(limits), clock)
    with body.closing_unless_read():
        media_type = request.headers.get("content-type", "").partition(";")[0]
        if media_type.strip().lower() != JSON:
            raise UnsupportedType(f"Send the body as {JSON}, and say so in Content-Type.")
        await body.feed(data.extend)
    return bytes(data)


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object (RFC 8259, in UTF-8) that `data` is, without anything that JSON cannot say.

    Raises Malformed where it is not JSON, Unusable where it is no object.
    """
    try:
        value = json.loads(
            data.decode("utf-8-sig"),
            parse_constant=_no_constant,
            parse_int=_whole_number,
            parse_float=_finite_number,
            object_pairs_hook=_without_repeats,
        )
    except RecursionError as exc:
        raise Malformed("The JSON is nested too deeply. Send it flat.") from exc
    except UnicodeDecodeError as exc:
        raise Malformed("The body is not UTF-8. Send JSON in UTF-8.") from exc
    except ValueError as exc:
        raise Malformed(f"The body is not JSON: {exc}.") from exc
    if not isinstance(value, dict):
        raise Unusable("The body is JSON, but no object. Send an object: {...}.")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(text)


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Which of two values was meant, nobody can know."""
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"an object names {name[:MAX_KEY_CHARS_SHOWN]!r} twice")
        made[name] = value
    return made


def _too_large(limits: JsonLimits) -> TooLarge:
    return TooLarge(
        f"The body is larger than {limits.max_json_bytes} bytes (GATEWAY_MAX_JSON_BYTES). "
        "Send less at once."
    )
