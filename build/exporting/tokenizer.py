"""A tokenizer of open_clip comes in, a `tokenizer.json` that gives the same ids comes out.

open_clip cleans texts in Python (ftfy, html) before it looks at tokens. Serving has only what the
`tokenizers` library can do: its normalizers here stand for the cleaning of texts that people type.
Texts in a wrong encoding, which ftfy would guess, stay as they are.
"""

import string
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftfy import chardata
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer, get_clean_fn
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers import models as algorithms
from tokenizers import normalizers as normal
from tokenizers import pre_tokenizers as splits
from tokenizers.processors import TemplateProcessing

from build.exporting.refusal import CannotExport

# SimpleTokenizer's pattern without the special tokens, which the library finds by itself.
WORDS = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
END_OF_WORD = "</w>"
C1_CONTROLS = range(0x80, 0xA0)  # Windows-1252 that was taken for Latin-1
ENTITIES = {  # those that people type; `&amp;` first, for what was escaped twice
    "&amp;": "&",
    "&lt;": "<",
    "&gt;": ">",
    "&quot;": '"',
    "&apos;": "'",
    "&#39;": "'",
    "&nbsp;": " ",
}
CLIP_PAD_ID = 0

ODD_TEXTS = (
    "",
    " ",
    "  a   photo\tof\na  DOG!! ",
    "Crème brûlée, naïve café; Straße ÅNGSTRÖM",
    "e\u0301clair de\u0301composé",
    "a dog \U0001f415 and a \U0001f469\u200d\U0001f469\u200d\U0001f467 family \u2764\ufe0f",
    "it's we're I'd they'll don't I've I'm 'tis rock'n'roll",
    "black &amp; white, 3 &lt; 4, &quot;quoted&quot;, R&amp;amp;B",
    "\u201ccurly\u201d and \u2018single\u2019 quotes, \ufb01ve \ufb02ags",
    "\uff26\uff55\uff4c\uff4c\u3000\uff57\uff49\uff44\uff54\uff48",
    "1,234.56 $ 20% (half-price) #1 @home a/b\\c a_b [x] {y} <z>",
    "собака на снегу, 雪の中の犬, 강아지, كلب في الثلج",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
    "a photo of " + "a very " * 100 + "long text",
    "x" * 2000,
    "!!!???...,,,---",
    "I\u2019m \u2013 dashes \u2014 and\u2026 dots",
)


@dataclass(frozen=True)
class TextTokens:
    """`served` pads to the context length or, where `is_dynamic`, to the longest of a batch."""

    served: Tokenizer
    context_length: int
    is_causal: bool  # whether padding behind a text changes nothing
    is_dynamic: bool

    @property
    def pad_id(self) -> int:
        return int(self.served.padding["pad_id"])


def of(theirs: Any, context_length: int, *, is_causal: bool, has_fixed_length: bool) -> TextTokens:
    """`has_fixed_length`: of the runtime, whatever the text tower could do. Raises CannotExport."""
    is_dynamic = is_causal and not has_fixed_length
    served = convert(theirs, context_length, is_dynamic=is_dynamic)
    return TextTokens(served, context_length, is_causal, is_dynamic)


def convert(theirs: Any, context_length: int, *, is_dynamic: bool) -> Tokenizer:
    """Cuts over-long texts so that their end token stays; pads with masked tokens.

    `is_dynamic`: padded to the longest text of a batch, not to the context length. Raises
    CannotExport for a tokenizer that `tokenizers` has nothing like.
    """
    if isinstance(theirs, SimpleTokenizer) and theirs.reduction_fn is None:
        ours, pad_id, pad_token = _of_clip(theirs), CLIP_PAD_ID, theirs.decoder[CLIP_PAD_ID]
    elif isinstance(theirs, HFTokenizer) and getattr(theirs.tokenizer, "is_fast", False):
        ours = Tokenizer.from_str(theirs.tokenizer.backend_tokenizer.to_str())
        kept = [ours.normalizer] if ours.normalizer else []
        ours.normalizer = normal.Sequence([*_cleaning(theirs.clean_fn), *kept])
        pad_id, pad_token = theirs.tokenizer.pad_token_id, theirs.tokenizer.pad_token
    else:
        raise CannotExport(
            f"the tokenizer of this model ({type(theirs).__name__}) has no `tokenizer.json` form"
        )
    ours.enable_truncation(context_length)
    length = None if is_dynamic else context_length
    ours.enable_padding(pad_id=pad_id, pad_token=pad_token, length=length)
    return ours


def hold_to(ours: Tokenizer, theirs: Any, texts: Sequence[str]) -> None:
    """Raises CannotExport where a text has other ids in open_clip."""
    compared = [*dict.fromkeys([*texts, *ODD_TEXTS])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers, about texts that are too long
        expected = [ids.tolist() for ids in theirs(compared)]
    for text, ids in zip(compared, expected, strict=True):
        found = ours.encode(text).ids
        padded = found + [ours.padding["pad_id"]] * (len(ids) - len(found))
        if padded != ids:
            raise CannotExport(
                f"the tokenizer cannot be converted: {text[:60]!r} has other tokens in open_clip"
            )


def _of_clip(theirs: Any) -> Tokenizer:
    start, end = (theirs.decoder[each] for each in (theirs.sot_token_id, theirs.eot_token_id))
    merges = sorted(theirs.bpe_ranks, key=theirs.bpe_ranks.__getitem__)
    ours = Tokenizer(
        algorithms.BPE(
            vocab=theirs.encoder,
            merges=merges,
            end_of_word_suffix=END_OF_WORD,
            continuing_subword_prefix="",
        )
    )
    ours.normalizer = normal.Sequence(_cleaning(theirs.clean_fn))
    ours.pre_tokenizer = splits.Sequence(
        [
            splits.Split(Regex(WORDS), behavior="removed", invert=True),
            splits.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    special = [theirs.decoder[token] for token in theirs.all_special_ids]
    ours.add_special_tokens([AddedToken(token, normalized=True) for token in special])
    ours.post_processor = TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, theirs.sot_token_id), (end, theirs.eot_token_id)],
    )
    return ours


def _cleaning(clean: Any) -> list[Any]:
    """The normalizers that do what open_clip's cleaning function does."""
    steps = [normal.Replace(entity, ENTITIES[entity]) for entity in ("&amp;", "&amp;", *ENTITIES)]
    for characters in (_windows_1252(), chardata.LIGATURES, chardata.WIDTH_MAP):
        steps += [normal.Replace(chr(code), text) for code, text in characters.items()]
    steps += [
        normal.Replace(Regex("[\u02bc\u2018-\u201b]"), "'"),
        normal.Replace(Regex("[\u201c-\u201f]"), '"'),
        normal.Replace(Regex("[\x85\u2028\u2029]"), " "),
        normal.Replace(Regex("[" + "".join(map(chr, chardata.CONTROL_CHARS)) + "]"), ""),
        normal.NFC(),
    ]
    if clean is get_clean_fn("canonicalize"):
        steps.append(normal.Replace("_", " "))
        steps += [normal.Replace(mark, "") for mark in string.punctuation if mark != "_"]
    steps += [normal.Replace(Regex(r"\s+"), " "), normal.Strip()]
    if clean is not get_clean_fn("whitespace"):
        steps.append(normal.Lowercase())
    return steps


def _windows_1252() -> dict[int, str]:
    meant = {code: bytes([code]).decode("cp1252", "ignore") for code in C1_CONTROLS}
    return {code: character for code, character in meant.items() if character}
