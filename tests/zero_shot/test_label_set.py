"""A label set is the same bytes each time, and reads back as it was."""

import io

import numpy as np
import pytest

from zero_shot import label_set
from zero_shot.label_set import BadLabelSet

LABELS = ("a", "bé", "日本")
EMBEDDINGS = np.eye(3, dtype=np.float32)


def test_it_reads_without_pickle_and_is_the_same_bytes_each_time() -> None:
    content = label_set.encode(LABELS, EMBEDDINGS)
    assert label_set.encode(LABELS, EMBEDDINGS) == content
    with np.load(io.BytesIO(content), allow_pickle=False) as read:
        assert list(read["labels"]) == list(LABELS)
        np.testing.assert_array_equal(read["embeddings"], EMBEDDINGS)


def test_it_reads_back() -> None:
    read = label_set.decode(label_set.encode(LABELS, EMBEDDINGS))
    assert read.labels == LABELS
    np.testing.assert_array_equal(read.embeddings, EMBEDDINGS)


def test_what_it_would_not_write_is_no_label_set() -> None:
    with pytest.raises(BadLabelSet, match="do not match"):
        label_set.decode(label_set.encode(LABELS, EMBEDDINGS[:2]))
