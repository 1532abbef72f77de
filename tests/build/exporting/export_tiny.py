"""Runs the exporter's own command line with the tiny model known to open_clip beside its own."""

import sys

import open_clip

from build import export_tensorrt
from tests.build.exporting.spread_clip import TINY

if __name__ == "__main__":
    open_clip.add_model_config(TINY)
    sys.exit(export_tensorrt.main(sys.argv[1:]))
