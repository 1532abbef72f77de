"""Prints the texts whose tokens a converted tokenizer has otherwise than open_clip, as JSON."""

import json
import sys

from open_clip.tokenizer import SimpleTokenizer

from build.exporting import tokenizer
from build.exporting.label_set import class_names
from build.exporting.label_set import templates as templates_of
from zero_shot import prompts

CONTEXT_LENGTH = 77


def different(clean: str) -> list[str]:
    theirs = SimpleTokenizer(clean=clean)
    ours = tokenizer.convert(theirs, CONTEXT_LENGTH, is_dynamic=False)
    texts = [*prompts.fill(class_names()[::2], templates_of("simple")[:2]), *tokenizer.ODD_TEXTS]
    texts += [text.upper() for text in texts[::7]] + [f"{text} \U0001f600!" for text in texts[::7]]
    expected = theirs(texts).tolist()
    return [t for t, ids in zip(texts, expected, strict=True) if ours.encode(t).ids != ids]


if __name__ == "__main__":
    cleans = ("lower", "whitespace", "canonicalize")
    json.dump({clean: different(clean) for clean in cleans}, sys.stdout)
