"""Text: a small causal transformer that learns to predict the next byte of real documents.

By default the 79 topics of Python's own ``help()``, 465 kB; or files of your own. Bytes are the
tokens: any language, no vocabulary to build, nothing to download. Layers, width, heads and context
are options, so that the same workload suits two cores of a laptop and fills a GPU.

Whole documents are kept for validation. Were each document cut in two, the second half would be
easy: it repeats the first half's names, phrases and tables, which a new document does not.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from ddp_sweep.errors import WorkloadError
from ddp_sweep.workload import LanguageModel

__all__ = ["Text", "Transformer"]

START = 256
"""Stands before the first byte of a document."""
VOCABULARY = 257
IGNORED = -100


class Text:
    """What is the next byte?

    Args:
        files: A file, a folder, a pattern such as ``corpus/*.txt``, or several of them, each
            relative to the sweep file; Python's help topics if not given. A file is a document.
        layers: Transformer blocks.
        width: Of the residual stream; a multiple of ``heads``.
        heads: Attention heads of a block.
        context: Bytes that one sample predicts.
        dropout: Share of each block's output that is left out in training.
        validation: Share of the documents that is kept for validation.
    """

    task = LanguageModel(ignore_index=IGNORED)

    def __init__(
        self,
        files: Path | list[Path] | None = None,
        *,
        layers: int = 2,
        width: int = 64,
        heads: int = 4,
        context: int = 128,
        dropout: float = 0.0,
        validation: float = 0.2,
    ) -> None:
        if width % heads:
            raise WorkloadError(f"width: received {width}; allowed: multiples of heads ({heads})")
        patterns = files if isinstance(files, list) else [files] if files is not None else []
        self._data = _split(tuple(map(str, patterns)), context, validation)
        self._shape = (layers, width, heads, context, dropout)

    def build_model(self) -> nn.Module:
        """The transformer."""
        return Transformer(*self._shape)

    def build_data(self) -> tuple[TensorDataset, TensorDataset]:
        """Pieces of the training documents and of the validation documents."""
        return self._data

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of each byte, shape [batch * context]; 0 where there is none."""
        return functional.cross_entropy(
            outputs.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )


class Transformer(nn.Module):
    """Pre-norm blocks of causal attention and a feed-forward layer, as in GPT-2."""

    def __init__(self, layers: int, width: int, heads: int, context: int, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.places = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [batch, time] to logits [batch, time, vocabulary]."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        states = self.blocks(self.tokens(tokens) + self.places(places))
        logits: Tensor = self.head(self.norm(states))
        return logits


class Block(nn.Module):
    """Attention to what came before, then a feed-forward layer, each added to its input."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout) if dropout > 0 else nn.Identity()

    def forward(self, states: Tensor) -> Tensor:
        """[batch, time, width] to the same shape."""
        batch, time, width = states.shape
        parts = self.query_key_value(self.norm_1(states))
        query, key, value = parts.view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        # Padding stands at the end, where nothing that counts looks: the causal mask suffices.
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        seen = seen.transpose(1, 2).reshape(batch, time, width)
        states = states + self.dropout(self.mix(seen))
        result: Tensor = states + self.dropout(self.feed_forward(self.norm_2(states)))
        return result


@lru_cache(maxsize=4)
def _split(
    patterns: tuple[str, ...], context: int, validation: float
) -> tuple[TensorDataset, TensorDataset]:
    documents = [text for text in _documents(patterns) if text]
    if len(documents) < 2:
        raise WorkloadError(
            f"files: {len(documents)} documents with text; at least two are needed, since whole "
            "documents are kept for validation. Split a long file into chapters"
        )
    order = np.random.default_rng(0).permutation(len(documents))
    kept = min(len(documents) - 1, max(1, round(validation * len(documents))))
    return (
        _pieces([documents[number] for number in order[kept:]], context),
        _pieces([documents[number] for number in order[:kept]], context),
    )


def _documents(patterns: tuple[str, ...]) -> Iterator[bytes]:
    if not patterns:
        from pydoc_data.topics import topics

        yield from (topics[name].encode() for name in sorted(topics))
    for pattern in patterns:
        place = Path(pattern)
        files = place.rglob("*") if place.is_dir() else map(Path, glob.glob(pattern))  # noqa: PTH207
        found = sorted(file for file in files if file.is_file())
        if not found:
            raise WorkloadError(f"files: nothing is found at {pattern}")
        yield from (file.read_bytes() for file in found)


def _pieces(documents: list[bytes], context: int) -> TensorDataset:
    """Inputs and targets, int64 [pieces, context]; a document's last piece is padded."""
    inputs, targets = [], []
    for text in documents:
        tokens = np.frombuffer(text, dtype=np.uint8).astype(np.int64)
        rows = -(-len(tokens) // context)
        target = np.full(rows * context, IGNORED)
        target[: len(tokens)] = tokens
        # A byte is predicted from all before it in its piece, the first from the one before.
        start = np.concatenate([[START], target[:-1]])
        inputs.append(np.where(start == IGNORED, START, start).reshape(rows, context))
        targets.append(target.reshape(rows, context))
    return TensorDataset(
        torch.from_numpy(np.concatenate(inputs)), torch.from_numpy(np.concatenate(targets))
    )
