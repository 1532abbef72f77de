"""The byte ranges of an upload that stay, and one block among them, joined to a stripped file."""


class Spans:
    """The new file, in order, as ranges of the old one; one place in it is marked for a block."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._kept: list[tuple[int, int]] = []
        self._mark = 0

    def keep(self, start: int, end: int) -> None:
        """Keep source[start:end]; neighbours grow together, so thousands of chunks stay few."""
        if len(self._kept) > self._mark and self._kept[-1][1] == start:
            start = self._kept.pop()[0]
        self._kept.append((start, end))

    def mark(self) -> None:
        """A block whose content is known only at the end will stand here."""
        self._mark = len(self._kept)

    def joined(self, block: bytes = b"") -> bytes:
        """The new file with `block` at the mark: the source itself where nothing differs."""
        source = memoryview(self._source)
        pieces: list[bytes | memoryview] = [source[start:end] for start, end in self._kept]
        pieces.insert(self._mark, block)
        new = b"".join(pieces)
        return self._source if new == self._source else new
