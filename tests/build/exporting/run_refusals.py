"""Loads models that cannot be exported and prints the refusals, as JSON by case."""

import json
import sys
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from build.exporting import checkpoint, clip
from build.exporting import options as command_line
from build.exporting.refusal import CannotExport
from tests.build.exporting.spread_clip import NAME, spread_clip

LOADED = "loaded"


class Code:
    """Unpickling it would run something."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("it was run",)


def write_checkpoints(folder: Path) -> None:
    weights = spread_clip().state_dict()
    torch.save(weights, folder / "plain.pt")
    wrapped = {"state_dict": {f"module.{name}": value for name, value in weights.items()}}
    torch.save({**wrapped, "epoch": 3}, folder / "training.pt")
    save_file(weights, folder / "weights.safetensors")
    for name in ("plain.pt", "weights.safetensors"):
        data = (folder / name).read_bytes()
        (folder / f"short-{name}").write_bytes(data[: len(data) // 2])
    torch.save({"state_dict": weights, "code": Code()}, folder / "code.pt")
    torch.save({}, folder / "empty.pt")
    torch.save([1, 2], folder / "list.pt")
    torch.save({**weights, "visual.proj": weights["visual.proj"][:, :32]}, folder / "shape.pt")
    torch.save({n: v for n, v in weights.items() if n != "visual.proj"}, folder / "missing.pt")
    positions = "visual.positional_embedding"
    torch.save({**weights, positions: torch.ones(145, 64)}, folder / "other-size.pt")
    torch.save({**weights, "visual.proj": weights["visual.proj"] * float("nan")}, folder / "nan.pt")
    (folder / "text.pt").write_text("not weights")
    (folder / "weights.h5").write_bytes(b"other")


def refusal(arguments: list[str]) -> list[object]:
    try:
        checkpoint.load(command_line.parse(arguments, ""))
    except CannotExport as exc:
        return [exc.exit_code, str(exc)]
    return [0, LOADED]


def main(folder: Path) -> dict[str, list[object]]:
    write_checkpoints(folder)
    files = [*sorted(folder.iterdir()), folder / "absent.pt"]
    found = {path.name: refusal(["--model", NAME, "--checkpoint", str(path)]) for path in files}
    found["unknown model"] = refusal(["--model", "ViT-B32", "--checkpoint", str(files[0])])
    found["unknown tag"] = refusal(["--model", "ViT-B-32", "--pretrained", "laion"])
    found["tag of a hub's model"] = refusal(["--model", "hf-hub:a/b", "--pretrained", "openai"])
    found["no hub"] = refusal(["--model", "ViT-B-32", "--pretrained", "laion2b_s34b_b79k"])
    found["no hub, by name"] = refusal(["--model", "hf-hub:some/one"])
    quick = ["--model", "ViT-B-32-quickgelu", "--pretrained", "laion2b_s34b_b79k"]
    found["other activation"] = refusal(quick)
    longest = open_clip.create_model(NAME, force_preprocess_cfg={"resize_mode": "longest"})
    try:
        clip.preprocessing_of(longest)
    except CannotExport as exc:
        found["longest"] = [exc.exit_code, str(exc)]
    return found


if __name__ == "__main__":
    answer = main(Path(sys.argv[1]))
    json.dump(answer, sys.stdout)
