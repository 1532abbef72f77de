"""Writes the spread model as a repository of the model hub."""

import json
import sys
from pathlib import Path

from safetensors.torch import save_file

from tests.build.exporting.spread_clip import TINY, spread_clip

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    model = spread_clip()
    config = {"model_cfg": json.loads(TINY.read_text()), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
