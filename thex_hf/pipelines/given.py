"""What a call of a pipeline is given: one text, several, or a stream of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset, IterableDataset

from thex_hf.errors import InputError


@dataclass(frozen=True)
class Given:
    """The texts of one call.

    Args:
        texts: in their order.
        single: it was one text, not a list of one.
        stream: they come one by one, and so do the answers.
        size: how many a stream has, if known; it can be read again then.
    """

    texts: Iterable[Any]
    single: bool = False
    stream: bool = False
    size: int | None = None


class Rows:
    """The rows of a map-style data set, in order; may be read again."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Any]:
        """From the first row on."""
        return (self._data[index] for index in range(len(self._data)))


def read_given(inputs: Any) -> Given:
    """Tell one text from several and from a stream.

    Several are a list or another sequence, a one-dimensional array, a column of ``pandas`` or
    ``datasets``. A stream is a torch data set or an iterator.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(inputs, tuple) and not inputs:
        return Given([])
    if isinstance(inputs, str | bytes | Mapping | tuple):  # what is no text is refused as a text
        return Given([inputs], single=True)
    if isinstance(inputs, IterableDataset):
        return Given(inputs, stream=True)
    if isinstance(inputs, Dataset):
        return Given(Rows(inputs), stream=True, size=len(inputs))  # type: ignore[arg-type]
    if isinstance(inputs, Iterator):
        return Given(inputs, stream=True)
    if getattr(inputs, "ndim", None) == 1 and hasattr(inputs, "tolist"):
        return Given(inputs.tolist())
    if isinstance(inputs, Sequence):
        return Given(list(inputs))
    raise InputError(
        f"expected a text (str), a list, an array or a column of texts, a generator or a torch "
        f"data set, got {type(inputs).__name__}{_advice(inputs)}"
    )


def _advice(inputs: Any) -> str:
    """What to give instead of a whole table."""
    if hasattr(inputs, "column_names") or hasattr(inputs, "columns"):
        return "; give one column of it, as in data['text']"
    return ""
