"""The output of a failed install goes in; what it means and what to do comes out."""

SHOWN_CHARACTERS = 60

_MEANINGS = (
    (("No space left on device",), "The disk is full: make room, and run it again."),
    (
        ("THESE PACKAGES DO NOT MATCH THE HASHES",),
        "A downloaded package is not the one that was pinned: the mirror in use altered it, or a "
        "download broke. Run it again; if it stays, look at `pip config list`.",
    ),
    (
        ("NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ProxyError", "SSLError"),
        "The package index cannot be reached: look at the network, the proxy (HTTPS_PROXY) and "
        "`pip config list`, and run it again.",
    ),
    (
        ("No matching distribution found", "is not a supported wheel"),
        "A pinned wheel is not offered for this platform or by the index in use (`pip config "
        "list` shows a mirror). On another platform use Docker instead: docker compose up",
    ),
    (
        ("ensurepip",),
        "Python's venv module is incomplete. Debian, Ubuntu: apt install python3-venv",
    ),
)
_OTHERWISE = "The install failed:"


def advice(output: str) -> str:
    """The first meaning whose words appear."""
    for words, meaning in _MEANINGS:
        if any(word in output for word in words):
            return meaning
    return _OTHERWISE


def shortened(line: str) -> str:
    """Without pip's location of a requirement, and short enough for two in a row."""
    plain = line.partition(" (from ")[0]
    return plain if len(plain) <= SHOWN_CHARACTERS else plain[: SHOWN_CHARACTERS - 1] + "…"
