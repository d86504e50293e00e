"""The text workload: every byte of every document once, no document on both sides."""

from __future__ import annotations

from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from ddp_sweep.errors import WorkloadError
from ddp_sweep.training.inspection import inspect_workload
from ddp_sweep.workload import LanguageModel, located
from ddp_sweep.workloads.text import IGNORED, START, Text


def texts(data: TensorDataset) -> set[bytes]:
    """The documents that pieces were cut from: a new one begins where the input says so."""
    inputs, targets = data.tensors
    whole: list[bytearray] = []
    for before, after in zip(inputs.tolist(), targets.tolist(), strict=True):
        if before[0] == START:
            whole.append(bytearray())
        whole[-1] += bytes(token for token in after if token != IGNORED)
    return {bytes(text) for text in whole}


def test_pieces_hold_every_byte_once_and_no_document_is_on_both_sides() -> None:
    train, validation = Text(context=100).build_data()
    kept, held = texts(train), texts(validation)

    assert not kept & held
    assert kept | held == {text.encode() for text in topics.values()}
    assert len(held) == round(0.2 * len(topics))
    inputs, targets = train.tensors
    counts = targets != IGNORED
    follows = counts[:, 1:]
    assert torch.equal(inputs[:, 1:][follows], targets[:, :-1][follows])
    assert (counts.sum(dim=1) > 0).all()
    # Padding stands at the end only: the causal mask keeps it from what counts.
    assert torch.equal(counts, counts.sort(dim=1, descending=True).values)


def test_no_output_depends_on_later_tokens_or_on_padding() -> None:
    workload = Text(layers=2, width=16, heads=2, context=24)
    torch.manual_seed(0)
    model = workload.build_model().eval()
    tokens = torch.randint(0, 256, (3, 24))
    changed = tokens.clone()
    changed[:, 13:] = START
    with torch.no_grad():
        before, after = model(tokens), model(changed)

    torch.testing.assert_close(before[:, :13], after[:, :13])
    assert not torch.allclose(before[:, 13:], after[:, 13:])


def test_files_of_ones_own_are_documents(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text("é" * (number + 3), encoding="utf-8")
    (tmp_path / "0.log").write_text("not asked for")
    factory: Any = located(Text, tmp_path)
    train, validation = factory(files="*.txt", context=4).build_data()

    assert texts(train) | texts(validation) == {("é" * (n + 3)).encode() for n in range(5)}
    folder, _ = factory(files=[".", "0.txt"], context=4, validation=0.1).build_data()
    assert b"not asked for" in texts(folder)
    facts = inspect_workload(factory, {"files": "*.txt", "width": 8, "heads": 1, "layers": 1})
    assert isinstance(facts.task, LanguageModel)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"files": "missing"}, "nothing is found at .*missing"),
        ({"files": "one.txt"}, "1 documents with text; at least two"),
        ({"width": 10, "heads": 4}, r"received 10; allowed: multiples of heads \(4\)"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "one.txt").write_text("a document")
    with pytest.raises(WorkloadError, match=message):
        inspect_workload(located(Text, tmp_path), options)
