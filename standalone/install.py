"""A bare Python comes in, `.venv` and `.venv-triton` with all pinned wheels go out; then nothing.

    python3 -m standalone.install          what `make up` runs first
    python3 -m standalone.install --dev    and what `make lint test` needs

Standard library only. This file can be read by any Python 3, so that an old one is told what it is.
"""

import sys

OLDEST = (3, 10)
NEWEST = (3, 13)
CANNOT_GO_ON = 1


def wrong_python(version: "tuple[int, ...]") -> "str | None":
    """Why a Python of this version will not do, or None."""
    if OLDEST <= version[:2] <= NEWEST:
        return None
    return (
        "Python 3.10 to 3.13 is needed, and this is Python "
        + ".".join(str(part) for part in version[:2])
        + ". Name another one: make up PYTHON=python3.12"
        + " (Debian, Ubuntu: apt install python3 python3-venv), or use Docker: docker compose up"
    )


def main() -> int:
    problem = wrong_python(sys.version_info[:2])
    if problem:
        sys.stderr.write("Cannot go on: " + problem + "\n")
        return CANNOT_GO_ON
    from standalone.wheels import environments

    return environments.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
