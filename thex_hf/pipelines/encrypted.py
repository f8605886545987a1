"""What the pipelines on encrypted data share: options, the runner, reports, the plan."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from transformers.utils import logging

from thex_hf.encrypted.schedule import SOFTMAX
from thex_hf.errors import ConversionError, InputError, OptionError
from thex_hf.modeling import ThexBertClassifier
from thex_hf.modeling.adapters import unwrapped
from thex_hf.modeling.guards import check_dtype, check_head, refuse_misfit
from thex_hf.modeling.opening import KINDS, check_tokenizer
from thex_hf.modeling.switch import set_softmax
from thex_hf.pipelines.engine import check_engine
from thex_hf.pipelines.options import (
    FHE_MODES,
    choose_protocol,
    one_of,
    refuse_unknown,
)
from thex_hf.pipelines.remote import Elsewhere, RemoteSession, refuse_local
from thex_hf.pipelines.report import Report
from thex_hf.pipelines.rows import rows_of
from thex_hf.pipelines.runner import Runner
from thex_hf.tokens.limits import CUT, limit_of
from thex_hf.tokens.options import TokenOptions
from thex_hf.tokens.tokenise import PLAIN, Tokens, tokenise

logger = logging.get_logger(__name__)


class EncryptedMixin:
    """Put before a stock pipeline, runs its model's encoder on encrypted data.

    Args:
        *args: of the stock pipeline.
        backend: engine, ``seal`` by default; or ``concrete``, which runs models of the THE-X form
            that classify by [CLS], in an environment of its own; or ``remote``, a server elsewhere.
        protocol: ``client-aided`` for models of the THE-X form; ``refresh`` (the default) or
            ``one-shot`` for those of the polynomial form.
        keys: directory to keep keys in; in memory when None. Never a model folder.
        softmax: ``estimate`` (THE-X's, finished by the client), ``exact`` (by the client) or
            ``estimate-on-server`` (as published: the client does nothing but ReLU; more
            rounds, more levels, the same result); the checkpoint's by default. For
            ``client-aided`` only.
        relu: ``server`` for ReLU of the last layer on ciphertext, by look-up tables; for backend
            ``concrete``. The client does it by default.
        ring: ring degree N for ``refresh`` and ``one-shot``: larger rings carry more levels
            between visits; the smallest that will do by default.
        processes: how many the server's work is spread over; all usable cores by default.
        url: of a server that ``thex-hf serve`` runs, for backend ``remote``.
        server_token: that this server asks for; ``token`` is the Hub's.
        verify: file of certificates to trust for that server, instead of the usual ones.
        **kwargs: of the stock pipeline; ``fhe`` is ``execute`` (ciphertexts), ``simulate``
            (the same circuit on numbers, with modelled noise) or ``disable`` (the clear torch
            model), ``agreement`` also runs the clear model and reports the difference. These two
            can be given at each call too.

    After a call :attr:`reports` holds one :class:`~thex_hf.pipelines.report.Report` a text.

    Raises:
        OptionError: an option is unknown or has a value not on offer.
        InputError: a text is empty, too long, or no text.
        ConversionError: the model is not a converted THE-X model.
    """

    model_class: ClassVar[type[ThexBertClassifier]]
    call_options: ClassVar[tuple[str, ...]]
    tokenizer: Any

    def __init__(
        self,
        *args: Any,
        backend: str = "seal",
        protocol: str | None = None,
        keys: str | os.PathLike[str] | None = None,
        softmax: str | None = None,
        relu: str = "client",
        ring: int | None = None,
        processes: int | None = None,
        url: str | None = None,
        server_token: str | None = None,
        verify: str | None = None,
        **kwargs: Any,
    ) -> None:
        given = unwrapped(kwargs.pop("model") if "model" in kwargs else args[0] if args else None)
        if isinstance(given, ThexBertClassifier):
            check_dtype(given)
            refuse_misfit(given)
        args, kwargs = self._fitting(protocol, args[1:], {**kwargs, "model": given})
        model = kwargs["model"]
        if isinstance(model, ThexBertClassifier):
            wanted = [task for task, kind in KINDS.items() if issubclass(self.model_class, kind)]
            check_head(model.saved_as, wanted)
        if not isinstance(model, self.model_class):
            raise ConversionError(
                f"expected a THE-X model ({self.model_class.__name__}), got "
                f"{type(model).__name__}; convert it first: thex-hf convert"
            )
        place = Elsewhere.check(backend, url=url, server_token=server_token, verify=verify)
        self.reports: list[Report] = []
        folder = None if keys is None else Path(keys)
        remote = None
        if place is None:
            self.protocol = choose_protocol(protocol, model.config.form)
            check_engine(backend, self.protocol, softmax=softmax, relu=relu, keys=keys, ring=ring)
        else:
            own = None if relu == "client" else relu
            refuse_local(softmax=softmax, ring=ring, processes=processes, relu=own)
            remote = RemoteSession(place, model, protocol, folder)
            self.protocol = remote.protocol
        if softmax is not None:
            if self.protocol != "client-aided":
                raise OptionError(f"softmax is an option of client-aided, not of {self.protocol}")
            one_of("softmax", softmax, SOFTMAX)
            set_softmax(model, "exact" if softmax == "exact" else "estimate")
        self.runner = Runner(
            model,
            backend=backend,
            protocol=self.protocol,
            softmax=softmax,
            relu=relu,
            ring=ring,
            processes=processes,
            keys=folder,
            remote=remote,
        )
        self._told = False
        super().__init__(*args, **kwargs)
        if self.tokenizer is not None:
            name = str(self.tokenizer.name_or_path or "the tokenizer given")
            check_tokenizer(self.tokenizer, model.config.vocab_size, name)

    @classmethod
    def _fitting(
        cls, protocol: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Exchange a model that was not asked for by name for one that fits the protocol."""
        return args, kwargs

    def check_model_type(self, supported_models: Any) -> None:
        """Accept THE-X models, which the stock name table does not know."""

    def get_iterator(self, inputs: Any, num_workers: int, batch_size: int, *rest: Any) -> Any:
        """As in transformers; a batch is padded on its way, so there should be padding.

        Raises:
            OptionError: several texts at once, and the tokenizer has no padding token.
        """
        if batch_size > 1 and self.tokenizer.pad_token_id is None:
            raise OptionError(
                f"batch_size={batch_size} needs a tokenizer with a padding token; set one "
                f"(tokenizer.pad_token = ...; any will do), or leave batch_size out"
            )
        return super().get_iterator(  # type: ignore[misc]
            inputs, num_workers, batch_size, *rest
        )

    def _own_options(
        self, options: dict[str, Any], fhe: str | None, agreement: bool | None
    ) -> dict[str, Any]:
        """Refuse unknown options and return the parameters of ``_forward``."""
        refuse_unknown(options, self.call_options, loading=not hasattr(self, "_forward_params"))
        forward: dict[str, Any] = {}
        if fhe is not None:
            forward["fhe"] = one_of("fhe", fhe, FHE_MODES)
        if agreement is not None:
            forward["agreement"] = bool(agreement)
        return forward

    @property
    def limit(self) -> int:
        """The most tokens of a text: the circuit's, the model's, the tokenizer's, the server's."""
        return min(self._own_limit(), self.runner.longest)

    def _own_limit(self) -> int:
        positions = self.runner.model.config.max_position_embeddings
        return limit_of(positions, self.tokenizer.model_max_length)

    def _tokenise(
        self, text: str, pair: str | None = None, options: TokenOptions = PLAIN
    ) -> Tokens:
        """Tokenise as everything else of this package does.

        Raises:
            InputError: no text, one of which nothing is left, or one that is too long.
        """
        limit = self.limit if options.cut else self._own_limit()
        found = tokenise(self.tokenizer, text, pair, limit=limit, options=options)
        if len(found) > self.runner.longest:
            raise InputError(
                f"the text has {len(found)} tokens, the server takes {self.runner.longest} at "
                f"most; {CUT}"
            )
        kinds = self.runner.model.config.type_vocab_size
        if max(found.segments) >= kinds > 1:
            raise InputError(
                f"the tokenizer gives segment {max(found.segments)}, the model has {kinds}: they "
                f"do not belong together"
            )
        if found.all_are(self.tokenizer.unk_token_id):
            logger.warning(
                "the tokenizer knows no part of a text: all it holds is unknown to the model, "
                "which can only guess"
            )
        return found

    def _classify(self, model_inputs: Mapping[str, Any], fhe: str, agreement: bool) -> list[Report]:
        """Run each row of a batch by itself and keep its report."""
        if fhe != "disable" and not self._told:
            self._told = True
            logger.warning(self.runner.learns)
        reports = self.runner.run(rows_of(model_inputs), fhe=fhe, agreement=agreement)
        self.reports += reports
        return reports

    @property
    def report(self) -> Report | None:
        """The report of the last text, None before any."""
        return self.reports[-1] if self.reports else None

    def plan(self, tokens: int) -> dict[str, Any]:
        """The plan for texts of ``tokens`` tokens, as JSON values."""
        return self.runner.session("execute").plan(tokens).to_json()
