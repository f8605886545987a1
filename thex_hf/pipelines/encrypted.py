"""What the pipelines on encrypted data share: options, the runner, reports, the plan, saving."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from huggingface_hub import CommitInfo
from torch import Tensor
from transformers.utils import logging

from thex_hf._choices import FHE_MODES, ON_ERROR, one_of
from thex_hf._paths import user_path
from thex_hf.errors import ConversionError, InputError, TextError
from thex_hf.hub import push_folder
from thex_hf.modeling.adapters import unwrapped
from thex_hf.modeling.guards import check_dtype, check_head, refuse_misfit
from thex_hf.modeling.hub import PUSH_OPTIONS
from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier, set_softmax
from thex_hf.modeling.opening import check_tokenizer
from thex_hf.options import RunOptions
from thex_hf.pipelines.call import Answers, Call, Given, read_given
from thex_hf.pipelines.call_options import (
    check_machinery,
    check_mode,
    refuse_unknown,
    whole_number,
    yes_or_no,
)
from thex_hf.pipelines.report import LastReports, Report
from thex_hf.pipelines.runner import TOKENISING, Runner, Turn, remote_client
from thex_hf.pipelines.windows import check_windows, run_windows
from thex_hf.tokens.options import CUT, LONGEST, TokenOptions, limit_of
from thex_hf.tokens.tokenise import PLAIN, Tokens, tokenise
from thex_hf.tokens.windows import WINDOW_OPTIONS

logger = logging.get_logger(__name__)
WINDOWS = "windows"
"""Of a prepared text, where its windows are, if it has any."""


class EncryptedMixin:
    """Put before a stock pipeline, runs its model's encoder on encrypted data.

    Args:
        *args: of the stock pipeline.
        **kwargs: of :class:`~thex_hf.options.RunOptions`, which has the words of
            all: ``backend``, ``protocol``, ``softmax``, ``relu``, ``ring``, ``flood``,
            ``processes``, ``weights_memory``, ``keys``, ``refill``, and ``url``, ``server_token``,
            ``verify`` of a server elsewhere; and of the stock pipeline. ``fhe`` is ``execute``
            (ciphertexts), ``simulate`` (the same circuit on numbers, with modelled noise) or
            ``disable`` (the clear torch model), ``agreement`` also runs the clear model and reports
            the difference; ``on_error`` is ``raise`` (the default) or ``skip``, which answers None
            for a text that cannot be served; ``window``, ``stride`` and, where texts are
            classified, ``pool`` cut long texts, see
            :class:`~thex_hf.tokens.windows.WindowOptions`. These can be given at each call too,
            and ``window=None`` there cuts none.

    A list is checked before anything is computed: the error of a text that cannot be served names
    its place, also as ``error.row``, from 1. A stream is checked as it comes. After a call
    :attr:`reports` holds one :class:`~thex_hf.pipelines.report.Report` a text. Several threads may
    use one pipeline: each finds the reports of its own last call there.

    Raises:
        OptionError: an option is unknown or has a value not on offer.
        InputError: a text is empty, too long, or no text.
        ConversionError: the model is not a converted THE-X model.
    """

    model_class: ClassVar[type[ThexBertClassifier]]
    call_options: ClassVar[tuple[str, ...]]
    tokenizer: Any
    # of the stock pipeline, which comes after this class
    preprocess: Any
    postprocess: Any
    _sanitize_parameters: Any
    _preprocess_params: dict[str, Any]
    _forward_params: dict[str, Any]
    _postprocess_params: dict[str, Any]
    _batch_size: int | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        wanted = RunOptions.take(kwargs)
        given = unwrapped(kwargs.pop("model") if "model" in kwargs else args[0] if args else None)
        if isinstance(given, ThexBertClassifier):
            check_dtype(given)
            refuse_misfit(given)
        args, kwargs = self._fitting(wanted, args[1:], {**kwargs, "model": given})
        model = kwargs["model"]
        if isinstance(model, ThexBertClassifier):
            check_head(model.saved_as, [self.model_class.task.name])
        if not isinstance(model, self.model_class):
            raise ConversionError(
                f"expected a THE-X model ({self.model_class.__name__}), got "
                f"{type(model).__name__}; convert it first: thex-hf convert"
            )
        check_machinery(kwargs)
        self._last, self._turn = LastReports(), Turn()
        options = wanted.resolved(model.config.form)
        remote = remote_client(options, model) if options.remote else None
        self.protocol = remote.protocol if remote else str(options.protocol)
        if options.softmax is not None:
            kind = "exact" if options.softmax == "exact" else "estimate"
            if kind != model.config.softmax:  # another pipeline may have the same model
                model = copy.deepcopy(model)
                set_softmax(model, kind)
                args, kwargs = args[1:], {**kwargs, "model": model}
        self.runner = Runner(model, replace(options, protocol=self.protocol), remote)
        self._told = False
        super().__init__(*args, **kwargs)
        if self.tokenizer is not None:
            name = str(self.tokenizer.name_or_path or "the tokenizer given")
            check_tokenizer(self.tokenizer, model.config.vocab_size, name)
            self._check_windows(self._preprocess_params)

    @classmethod
    def _fitting(
        cls, wanted: RunOptions, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Exchange a model that was not asked for by name for one that fits the options."""
        return args, kwargs

    def check_model_type(self, supported_models: Any) -> None:
        """Accept THE-X models, which the stock name table does not know."""

    def _own_options(
        self,
        options: dict[str, Any],
        fhe: str | None,
        agreement: bool | None,
        on_error: str | None,
    ) -> dict[str, Any]:
        """Refuse unknown options and return the parameters of ``_forward``."""
        refuse_unknown(options, self.call_options, loading=not hasattr(self, "_forward_params"))
        forward: dict[str, Any] = {}
        if fhe is not None:
            forward["fhe"] = one_of("fhe", fhe, FHE_MODES)
        if agreement is not None:
            forward["agreement"] = yes_or_no("agreement", agreement)
        if on_error is not None:
            forward["on_error"] = one_of("on_error", on_error, ON_ERROR)
        return forward

    @staticmethod
    def _window_options(options: dict[str, Any]) -> dict[str, Any]:
        """Take those about windows out of the options: parameters of ``preprocess``."""
        found = {name: options.pop(name) for name in WINDOW_OPTIONS if name in options}
        return {name: x for name, x in found.items() if x is not None or name == "window"}

    def _check_windows(self, options: Mapping[str, Any]) -> None:
        with TOKENISING:
            check_windows(options, self.tokenizer, self.runner.model, self.limit)

    @property
    def window(self) -> int | None:
        """The most tokens of a window into which long texts are cut; None: none are cut so."""
        most: int | None = self._preprocess_params.get("window")
        return most

    @property
    def limit(self) -> int:
        """The most tokens of a text: the circuit's, the model's, the tokenizer's, the server's."""
        return min(self._own_limit(), self.runner.longest)

    def _own_limit(self) -> int:
        positions = self.runner.model.config.max_position_embeddings
        longest = max(LONGEST, self.runner.longest)
        return limit_of(positions, self.tokenizer.model_max_length, longest)

    def _tokenise(
        self,
        text: str,
        pair: str | None = None,
        options: TokenOptions = PLAIN,
        *,
        whole: bool = False,
    ) -> Tokens:
        """Tokenise as everything else of this package does; ``whole``: however long it is.

        Raises:
            InputError: no text, one of which nothing is left, or one that is too long.
        """
        limit = self.limit if options.cut else self._own_limit()
        limit = sys.maxsize if whole else limit
        tokens = tokenise(self.tokenizer, text, pair, limit=limit, options=options)
        if len(tokens) > self.runner.longest and not whole:
            raise InputError(
                f"the text has {len(tokens)} tokens, the server takes {self.runner.longest} at "
                f"most; {CUT}"
            )
        kinds = self.runner.model.config.type_vocab_size
        if max(tokens.segments) >= kinds > 1:
            raise InputError(
                f"the tokenizer gives segment {max(tokens.segments)}, the model has {kinds}: they "
                f"do not belong together"
            )
        if tokens.all_are(self.tokenizer.unk_token_id):
            logger.warning(
                "the tokenizer knows no part of a text: all it holds is unknown to the model, "
                "which can only guess"
            )
        return tokens

    def check(self, inputs: Any, **options: Any) -> dict[int, TextError]:
        """Find the texts that a call would refuse; nothing is computed.

        Args:
            inputs: as for a call.
            **options: as for a call.

        Returns:
            By their places, from 1, the errors of texts that cannot be served.

        Raises:
            OptionError: as a call.
        """
        given = read_given(inputs)
        return self._call(given, options, []).check(given.texts)

    def _serve(self, inputs: Any, options: dict[str, Any]) -> Any:
        """One call: answers to what it was given, reports where this thread finds them."""
        reports = self._last.begin()
        given = read_given(inputs)
        call = self._call(given, options, reports)
        if given.stream:
            return Answers(given, call)
        answers = call.together(given.texts)
        return answers[0] if given.single else answers

    def _call(self, given: Given, options: dict[str, Any], reports: list[Report]) -> Call:
        """What a call with these options does."""
        rest = dict(options)
        batch, workers = rest.pop("batch_size", None), rest.pop("num_workers", None)
        check_machinery({"batch_size": batch, "num_workers": workers})
        pre, forward, post = self._sanitize_parameters(**rest)
        made = self._preprocess_params
        if pre.get("window", made) is None:  # switched off, and what goes with it
            made = {name: x for name, x in made.items() if name not in WINDOW_OPTIONS}
        pre, post = {**made, **pre}, {**self._postprocess_params, **post}
        self._check_windows(pre)
        forward = {"fhe": "execute", "agreement": False, **self._forward_params, **forward}
        skip = forward.pop("on_error", ON_ERROR[0]) == "skip"
        check_mode(**forward)
        size = batch or self._batch_size or 1
        return Call(
            partial(self._prepare, pre),
            partial(self._run, batch=size, **forward),
            partial(self._answer, post),
            partial(self.runner.refused, fhe=forward["fhe"]),
            reports,
            batch=size,
            skip=skip,
            named=not given.single,
        )

    def _prepare(self, options: dict[str, Any], text: Any) -> Mapping[str, Any]:
        """Tokenise one text, without padding: the circuit pads. Raises TextError."""
        with TOKENISING:
            found = self.preprocess(text, **options)
            (encoded,) = [found] if isinstance(found, Mapping) else list(found)
        return dict(encoded)

    def _run(
        self, rows: Sequence[Mapping[str, Any]], fhe: str, agreement: bool, batch: int = 1
    ) -> list[Report | TextError]:
        """Run tokenised texts, each by itself, or by its windows, ``batch`` of them at once."""
        with self._turn:
            news = fhe != "disable" and not self._told
            self._told = self._told or news
        if news:
            logger.warning(self.runner.learns)
        cuts = [row[WINDOWS] for row in rows if WINDOWS in row]
        if cuts:  # of all rows of a call, or of none
            return run_windows(self.runner, cuts, fhe=fhe, agreement=agreement, batch=batch)
        tensors = [{name: x for name, x in row.items() if isinstance(x, Tensor)} for row in rows]
        return self.runner.run(tensors, fhe=fhe, agreement=agreement)

    def _answer(self, options: dict[str, Any], row: Mapping[str, Any], report: Report) -> Any:
        """What is returned for one text."""
        with TOKENISING:
            return self.postprocess(self._outputs(row, report), **options)

    def _output(self, row: Mapping[str, Any], report: Report) -> dict[str, Any]:
        """What the stock pipeline has of its model for one text."""
        raise NotImplementedError

    def _outputs(self, row: Mapping[str, Any], report: Report) -> Any:
        """What the stock pipeline makes the answer of."""
        return self._output(row, report)

    def _forward(
        self,
        model_inputs: Mapping[str, Any],
        fhe: str = "execute",
        agreement: bool = False,
        **_: Any,
    ) -> dict[str, Any]:
        """Run one tokenised text, for those who call the steps of a pipeline by themselves.

        Raises:
            InputError: there are several.
        """
        if len(model_inputs["input_ids"]) != 1:
            raise InputError(f"expected one tokenised text, got {len(model_inputs['input_ids'])}")
        (outcome,) = self._run([model_inputs], fhe, agreement)
        if isinstance(outcome, TextError):
            raise outcome
        self.reports.append(outcome)
        return self._output(model_inputs, outcome)

    @property
    def reports(self) -> list[Report]:
        """One report a text of this thread's last call; other threads have theirs."""
        return self._last.last()

    @property
    def report(self) -> Report | None:
        """The report of the last text, None before any."""
        return self.reports[-1] if self.reports else None

    def plan(self, tokens: int) -> dict[str, Any]:
        """The plan for texts of ``tokens`` tokens, as JSON values.

        Raises:
            OptionError: not a whole number, 1 or more.
            PlanError: no parameters carry so many.
        """
        whole_number("tokens", tokens)
        return self.runner.session("execute").plan(tokens).to_json()


class SharingMixin:
    """Replaces ``save_pretrained`` and ``push_to_hub`` of :class:`transformers.Pipeline`.

    Those copy the pipeline's code into the folder, and put a card of their own over ours.
    """

    model: Any
    tokenizer: Any

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Save model, card and tokenizer; keys are never saved with a model.

        Args:
            save_directory: made if need be.
            push_to_hub: upload the folder afterwards; options as in
                :func:`thex_hf.hub.push_folder`, and ``repo_id`` is the folder's name by default.
            **kwargs: as for the model, ``include_remote_code`` among them.

        Raises:
            KeyStoreError: the folder holds keys; nothing was written.
        """
        folder = user_path("save_directory", save_directory)
        pushing = {name: kwargs.pop(name) for name in PUSH_OPTIONS if name in kwargs}
        self.model.save_pretrained(folder, **kwargs)
        self.tokenizer.save_pretrained(folder)
        if push_to_hub:
            push_folder(folder, str(pushing.pop("repo_id", folder.name)), **pushing)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> CommitInfo:
        """Upload model, card and tokenizer in one commit.

        Args:
            repo_id: ``"organisation/name"``, or ``"name"`` for one's own.
            **kwargs: as for the model's ``push_to_hub``.

        Raises:
            HfHubHTTPError: the Hub refused.
        """
        commit: CommitInfo = self.model.push_to_hub(repo_id, tokenizer=self.tokenizer, **kwargs)
        return commit
