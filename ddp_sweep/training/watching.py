"""Watches a workload from outside while it is tried: its tensors, its data, its model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset, TensorDataset

from ddp_sweep.spec import Json, canonical_json
from ddp_sweep.training.members import called
from ddp_sweep.training.tried import TensorFacts
from ddp_sweep.workload import Workload, WorkloadFactory

__all__ = ["Watch"]


class Watch:
    """Makes workloads like a factory does, and notes what passes through them.

    The data sets are built once: a second look at the same data teaches nothing and may take long.

    Args:
        factory: Makes the workload.
    """

    def __init__(self, factory: WorkloadFactory) -> None:
        # What asks for the arguments of this factory gets those of the one within.
        functools.update_wrapper(self, factory, updated=())
        self._factory = factory
        self._data: dict[str, Any] = {}
        self._tensors: dict[str, TensorFacts] = {}
        self.most_validation_samples: int | None = None
        """A validation set larger than this is cut to evenly spaced samples; None for never."""
        self._model: nn.Module | None = None
        self._workload: Workload | None = None

    @property
    def tensors(self) -> tuple[TensorFacts, ...]:
        """Of the largest training batch seen: model inputs, outputs and targets."""
        return tuple(self._tensors.values())

    def described(self) -> dict[str, str]:
        """What the last workload says of itself, by label; empty where it says nothing."""
        describe = getattr(self._workload, "describe", None)
        said = called("describe", describe) if callable(describe) else None
        if not isinstance(said, Mapping):
            return {}
        return {str(label): str(text) for label, text in said.items()}

    def parameters(self) -> list[nn.Parameter]:
        """Those of the last model that was built; empty where none was seen."""
        return [] if self._model is None else list(self._model.parameters())

    def __call__(self, **options: Json) -> Workload:
        """A fresh workload that is being watched."""
        workload = self._workload = self._factory(**options)
        wrappers: dict[str, Callable[[Any], Any]] = {
            "build_data": functools.partial(self._build_data, canonical_json(options)),
            "build_model": self._build_model,
            "loss": self._loss,
        }
        # Set on the object itself, so that its class keeps its name and messages are the same.
        # One that allows no attributes is used as it is, and less is known of it.
        for name, wrapped in wrappers.items():
            own = getattr(workload, name, None)
            if callable(own):
                with suppress(AttributeError, TypeError):
                    object.__setattr__(workload, name, wrapped(own))
        return workload

    def _build_data(self, variant: str, own: Any) -> Any:  # noqa: ANN401
        def build_data() -> Any:  # noqa: ANN401 - checked by who asks for it
            if variant not in self._data:
                self._data[variant] = own()
            most = self.most_validation_samples
            if most is None:
                return self._data[variant]
            train, validation = self._data[variant]
            return train, _thinned(validation, most)

        return build_data

    def _build_model(self, own: Any) -> Any:  # noqa: ANN401
        def build_model() -> Any:  # noqa: ANN401
            model = own()
            if isinstance(model, nn.Module):
                self._model = model
                model.register_forward_hook(self._note_forward, with_kwargs=True)
            return model

        return build_model

    def _loss(self, own: Any) -> Any:  # noqa: ANN401
        def loss(outputs: Any, targets: Any) -> Any:  # noqa: ANN401
            if torch.is_grad_enabled():
                self._note("targets", targets)
            return own(outputs, targets)

        return loss

    def _note_forward(
        self,
        model: nn.Module,
        arguments: tuple[Any, ...],
        named: dict[str, Any],
        outputs: Any,  # noqa: ANN401
    ) -> None:
        if model.training and torch.is_grad_enabled():
            self._note("model input", arguments[0] if len(arguments) == 1 else arguments)
            self._note("model input", named)
            self._note("model output", outputs)

    def _note(self, name: str, value: Any) -> None:  # noqa: ANN401
        for path, tensor in _tensors_in(value, name):
            known = self._tensors.get(path)
            if known is None or known.shape[:1] <= tuple(tensor.shape[:1]):
                kind = str(tensor.dtype).removeprefix("torch.")
                self._tensors[path] = TensorFacts(name=path, shape=tuple(tensor.shape), dtype=kind)


def _tensors_in(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:  # noqa: ANN401
    """Tensors in nested containers and dataclasses, each with how one gets there."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors_in(inner, f"{path}[{key!r}]")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for at, inner in enumerate(value):
            yield from _tensors_in(inner, f"{path}[{at}]")
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _tensors_in(getattr(value, field.name), f"{path}.{field.name}")


def _thinned(dataset: Dataset[Any], most: int) -> Dataset[Any]:
    """Evenly spaced samples: the first ones might all be of one class."""
    samples = len(dataset)  # type: ignore[arg-type]
    if samples <= most:
        return dataset
    chosen = np.linspace(0, samples - 1, most).round().astype(np.int64)
    if type(dataset) is TensorDataset:
        rows = torch.from_numpy(chosen)
        return TensorDataset(*(tensor[rows] for tensor in dataset.tensors))
    return Subset(dataset, chosen.tolist())
