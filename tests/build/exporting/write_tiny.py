"""Writes the tiny model as repositories of the model hub: spread, and as it is initialised."""

import json
import sys
from pathlib import Path

import open_clip
from safetensors.torch import save_file

from tests.build.exporting.spread_clip import NAME, TINY, spread_clip

if __name__ == "__main__":
    organisation = Path(sys.argv[1])
    models = {"tiny": spread_clip(), "initialised": open_clip.create_model(NAME)}
    for name, model in models.items():
        folder = organisation / name
        folder.mkdir(parents=True)
        config = {"model_cfg": json.loads(TINY.read_text()), "preprocess_cfg": {}}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
