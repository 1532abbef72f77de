"""The text tower comes in, what computes the label set with it in float32 comes out."""

from build.exporting import gate, parity
from build.exporting.clip import Clip
from build.exporting.engine import Engine, OpenVinoEngine, PyTorchEngine
from build.exporting.graph import Graphs
from build.exporting.tokenizer import ODD_TEXTS, TextTokens
from build.exporting.towers import text_tower


def engine(clip: Clip, tokens: TextTokens, graphs: Graphs) -> Engine:
    """OpenVINO, which is faster than PyTorch, where it computes what open_clip does."""
    if not graphs.in_half:
        converted = OpenVinoEngine(graphs.text, "f32")
        measured = parity.of_texts(ODD_TEXTS, clip, tokens.served, converted)
        if not gate.objections(gate.TEXTS, measured, gate.GATES["fp32"]):
            return converted
    return PyTorchEngine(text_tower(clip.model, tokens.pad_id))
