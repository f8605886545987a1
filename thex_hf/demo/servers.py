"""What the page runs: the models, a server for each protocol and engine, and their encoding."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from thex_hf.backends.registry import get_backend, list_backends
from thex_hf.circuits.dispatch import FORMS
from thex_hf.circuits.plan import Plan
from thex_hf.client.half import ClientHalf, Ids
from thex_hf.client.scores import best
from thex_hf.demo.recording_backend import WatchedBackend
from thex_hf.demo.recording_transport import Desk
from thex_hf.demo.view_state import Tell, Verdict
from thex_hf.errors import InputError, ThexError
from thex_hf.modeling import ThexBertClassifier, ThexBertForTokenClassification
from thex_hf.modeling.opening import open_model
from thex_hf.serving.server import ThexServer


@dataclass(frozen=True)
class Hosted:
    """One model: its client half, and the whole of it in clear."""

    half: ClientHalf
    model: ThexBertClassifier

    def verdict(self, ids: Ids, types: Ids) -> Verdict:
        """The answer of the model in clear, which no server computes outside this page."""
        with torch.no_grad():
            logits = self.model(
                input_ids=torch.from_numpy(ids)[None],
                token_type_ids=torch.from_numpy(types)[None],
                return_dict=True,
            ).logits[0]
        values = logits.double().numpy()
        found = best(values, self.half.config)
        return Verdict(str(found["label"]), float(found["score"]), values)


@dataclass(eq=False)
class Host:
    """Models and servers, made when first asked for.

    Args:
        folders: a model's folder for each form.

    Raises:
        InputError: forms that there are not, or a model that classifies tokens.
        ConversionError: a folder without a THE-X model in it.
    """

    folders: Mapping[str, Path]
    _hosted: dict[str, Hosted] = field(init=False, default_factory=dict)
    _desks: dict[tuple[str, str], Desk] = field(init=False, default_factory=dict)
    _encoded: set[tuple[str, str]] = field(init=False, default_factory=set)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Load the models, so that a wrong one is told at the start."""
        if not self.folders or not set(self.folders) <= set(FORMS.values()):
            forms = sorted(set(FORMS.values()))
            raise InputError(f"expected models by form, {forms}, got {sorted(self.folders)}")
        for form, folder in self.folders.items():
            model = open_model(folder).float()
            if isinstance(model, ThexBertForTokenClassification):
                raise InputError(
                    "the page shows models that classify texts, this one classifies tokens"
                )
            self._hosted[form] = Hosted(ClientHalf.open(folder), model)

    @property
    def protocols(self) -> list[str]:
        """Those that the models serve."""
        return [protocol for protocol, form in FORMS.items() if form in self.folders]

    @property
    def engines(self) -> list[str]:
        """Slot engines whose libraries are here, those that encrypt first."""
        found = [name for name in list_backends() if _usable(name)]
        return sorted(found, key=lambda name: (name == "clear", name))

    def hosted(self, protocol: str) -> Hosted:
        """The model that a protocol serves."""
        return self._hosted[FORMS[protocol]]

    def desk(self, protocol: str, engine: str) -> Desk:
        """The server of a protocol on an engine. Raises as ``ThexServer``."""
        with self._lock:
            if (protocol, engine) not in self._desks:
                model = self.hosted(protocol).model
                server = ThexServer(
                    model.encoder_weights(),
                    WatchedBackend(get_backend(engine)),
                    ranges=model.config.ranges,
                    protocol=protocol,
                )
                self._desks[protocol, engine] = Desk(server)
            return self._desks[protocol, engine]

    def encode(self, plan: Plan, engine: str, tell: Tell) -> bool:
        """Encode the weights of a plan, which is done once; whether it was done now."""
        desk = self.desk(plan.protocol, engine)
        total = sum(count for (verb, _), count in plan.operations.items() if verb == "encode")
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            tell({"encoded": (done, total)})

        with desk.lock:
            if (plan.id, engine) in self._encoded:
                return False
            desk.server.prepare(tick, plan.id)
            self._encoded.add((plan.id, engine))
        return True


def _usable(name: str) -> bool:
    try:
        return get_backend(name).available()[0]
    except ThexError:
        return False
