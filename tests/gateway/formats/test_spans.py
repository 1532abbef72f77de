"""Spans: what is kept comes out in order, and a file that loses nothing is not copied."""

from gateway.formats.spans import Spans

SOURCE = b"0123456789"


def test_keeping_everything_gives_the_source_itself() -> None:
    spans = Spans(SOURCE)
    spans.keep(0, 4)
    spans.mark()
    spans.keep(4, 10)
    assert spans.joined() is SOURCE


def test_what_is_not_kept_is_gone_and_the_block_stands_at_the_mark() -> None:
    spans = Spans(SOURCE)
    spans.keep(0, 2)
    spans.mark()
    spans.keep(2, 4)
    spans.keep(4, 5)
    spans.keep(7, 9)
    assert spans.joined(b"-") == b"01-23478"


def test_a_block_already_there_gives_the_source_itself() -> None:
    spans = Spans(SOURCE)
    spans.keep(0, 3)
    spans.mark()
    spans.keep(5, 10)
    assert spans.joined(b"34") is SOURCE
