"""Where this checkout lies: what is installed, downloaded and served is found from here."""

from pathlib import Path

REPOSITORY_ROOT = Path(__file__).resolve().parent.parent.parent
