"""One call of a pipeline: texts in, answers and reports out, and what becomes of bad texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch.utils.data import Dataset, IterableDataset
from transformers.utils import logging

from thex_hf._progress import progress
from thex_hf.errors import InputError, TextError
from thex_hf.pipelines.report import Report

logger = logging.get_logger(__name__)
SHOWN = 3
"""Reasons in a warning."""

Prepared: TypeAlias = Mapping[str, Any]


@dataclass
class Call:
    """What one call does with its texts.

    Args:
        prepare: tokenises a text; raises TextError.
        classify: the report of each prepared text, or its error.
        answer: what the pipeline returns for a prepared text with that report.
        refused: the report of a text that has none.
        reports: where reports go, one a text.
        batch: texts at once.
        skip: answer None for a text that cannot be served, instead of raising.
        named: name the text in errors, there are several.
    """

    prepare: Callable[[Any], Prepared]
    classify: Callable[[Sequence[Prepared]], list[Report | TextError]]
    answer: Callable[[Prepared, Report], Any]
    refused: Callable[[TextError], Report]
    reports: list[Report]
    batch: int
    skip: bool
    named: bool
    _skipped: list[str] = field(default_factory=list)

    def together(self, texts: Iterable[Any]) -> list[Any]:
        """Answers to several texts, all of which are checked before anything is computed.

        A bar shows how many have been answered, unless all are computed at once.

        Raises:
            TextError: unless they are skipped, of the first text that cannot be served.
        """
        entries = [self._prepared(text) for text in texts]
        for row, error in _refused(entries).items():
            if not self.skip:
                raise self._at(error, row)
        out: list[Any] = []
        with progress(len(entries), "texts", shown=len(entries) > self.batch) as bar:
            for start in range(0, len(entries), self.batch):
                some = entries[start : start + self.batch]
                out += self._some(some, start + 1)
                bar.update(len(some))
        self._tell()
        return out

    def check(self, texts: Iterable[Any]) -> dict[int, TextError]:
        """The errors of texts that cannot be served, by their places, from 1."""
        return _refused([self._prepared(text) for text in texts])

    def one_by_one(self, texts: Iterable[Any]) -> Iterator[Any]:
        """Answers to a stream of texts, each checked as it comes.

        Raises:
            TextError: unless they are skipped, after the answers to all texts before it.
        """
        self.reports.clear()
        self._skipped.clear()
        entries: list[Prepared | TextError] = []
        first = 1
        for text in texts:
            entries.append(self._prepared(text))
            ends = isinstance(entries[-1], TextError) and not self.skip
            if ends or len(entries) == self.batch:
                yield from self._some(entries, first)
                first, entries = first + len(entries), []
        yield from self._some(entries, first)
        self._tell()

    def _prepared(self, text: Any) -> Prepared | TextError:
        try:
            return self.prepare(text)
        except TextError as error:
            return error

    def _some(self, entries: Sequence[Prepared | TextError], first: int) -> Iterator[Any]:
        """Compute some texts at once, keep all their reports, then give the answers in order."""
        able = [entry for entry in entries if not isinstance(entry, TextError)]
        computed = iter(self.classify(able) if able else [])
        outcomes = [entry if isinstance(entry, TextError) else next(computed) for entry in entries]
        self.reports += [
            self.refused(one) if isinstance(one, TextError) else one for one in outcomes
        ]
        for row, (entry, outcome) in enumerate(zip(entries, outcomes, strict=True), first):
            if isinstance(outcome, TextError):
                if not self.skip:
                    raise self._at(outcome, row)
                self._skipped.append(str(self._at(outcome, row)))
                yield None
            else:
                assert not isinstance(entry, TextError)
                yield self.answer(entry, outcome)

    def _at(self, error: TextError, row: int) -> TextError:
        return error.at(row) if self.named else error

    def _tell(self) -> None:
        """Say how many texts were skipped, and why the first of them."""
        if not self._skipped:
            return
        more = "; ..." if len(self._skipped) > SHOWN else ""
        logger.warning(
            "skipped %d of %d texts, whose answers are None: %s%s",
            len(self._skipped),
            len(self.reports),
            "; ".join(self._skipped[:SHOWN]),
            more,
        )


def _refused(entries: Sequence[Prepared | TextError]) -> dict[int, TextError]:
    return {row: entry for row, entry in enumerate(entries, 1) if isinstance(entry, TextError)}


class Answers(Iterator[Any]):
    """Answers to a stream of texts, computed as they are asked for.

    Those to a data set have a length, and each ``for`` loop begins at its first text.

    Args:
        given: the stream.
        call: what answers it.

    Attributes:
        reports: of the texts answered so far.
    """

    def __init__(self, given: Given, call: Call) -> None:
        self._given, self._call = given, call
        self._running = call.one_by_one(given.texts)
        self.reports = call.reports

    def __iter__(self) -> Iterator[Any]:
        """All answers of a data set from the first on; of other streams those still to come."""
        if self._given.size is not None:
            self._running = self._call.one_by_one(self._given.texts)
        return self

    def __next__(self) -> Any:
        """The answer to the next text."""
        return next(self._running)

    def __len__(self) -> int:
        """How many texts there are.

        Raises:
            TypeError: nobody knows.
        """
        if self._given.size is None:
            raise TypeError("a stream of texts has no length")
        return self._given.size


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
