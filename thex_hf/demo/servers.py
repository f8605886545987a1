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
from thex_hf.demo.recording_backend import RecordingBackend
from thex_hf.demo.recording_transport import LockedServer
from thex_hf.demo.view_state import Prediction, Update
from thex_hf.errors import InputError, ThexError
from thex_hf.modeling import ThexBertClassifier, ThexBertForTokenClassification
from thex_hf.modeling.opening import open_model
from thex_hf.serving.server import ThexServer


@dataclass(frozen=True)
class DemoModel:
    """One model: its client half, and the whole of it in clear."""

    half: ClientHalf
    model: ThexBertClassifier

    def predict(self, ids: Ids, types: Ids) -> Prediction:
        """The answer of the model in clear, which no server computes outside this page."""
        with torch.no_grad():
            logits = self.model(
                input_ids=torch.from_numpy(ids)[None],
                token_type_ids=torch.from_numpy(types)[None],
                return_dict=True,
            ).logits[0]
        values = logits.double().numpy()
        return Prediction.of(values, self.half.config)


@dataclass(eq=False)
class Servers:
    """Models and servers, made when first asked for.

    Args:
        folders: a model's folder for each form.

    Raises:
        InputError: forms that there are not, or a model that classifies tokens.
        ConversionError: a folder without a THE-X model in it.
    """

    folders: Mapping[str, Path]
    _models: dict[str, DemoModel] = field(init=False, default_factory=dict)
    _servers: dict[tuple[str, str], LockedServer] = field(init=False, default_factory=dict)
    _encoded: set[tuple[str, str]] = field(init=False, default_factory=set)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Load the models, so that a wrong one is refused at the start."""
        if not self.folders or not set(self.folders) <= set(FORMS.values()):
            forms = sorted(set(FORMS.values()))
            raise InputError(f"expected models by form, {forms}, got {sorted(self.folders)}")
        for form, folder in self.folders.items():
            model = open_model(folder).float()
            if isinstance(model, ThexBertForTokenClassification):
                raise InputError(
                    "the page shows models that classify texts, this one classifies tokens"
                )
            self._models[form] = DemoModel(ClientHalf.open(folder), model)

    @property
    def protocols(self) -> list[str]:
        """Those that the models serve."""
        return [protocol for protocol, form in FORMS.items() if form in self.folders]

    @property
    def engines(self) -> list[str]:
        """Slot engines whose libraries are here, those that encrypt first."""
        names = [name for name in list_backends() if _usable(name)]
        return sorted(names, key=lambda name: (name == "clear", name))

    def model_for(self, protocol: str) -> DemoModel:
        """The model that a protocol serves."""
        return self._models[FORMS[protocol]]

    def server(self, protocol: str, engine: str) -> LockedServer:
        """The server of a protocol on an engine. Raises as ``ThexServer``."""
        with self._lock:
            if (protocol, engine) not in self._servers:
                model = self.model_for(protocol).model
                server = ThexServer(
                    model.encoder_weights(),
                    RecordingBackend(get_backend(engine)),
                    ranges=model.config.ranges,
                    protocol=protocol,
                )
                self._servers[protocol, engine] = LockedServer(server)
            return self._servers[protocol, engine]

    def encode(self, plan: Plan, engine: str, update: Update) -> bool:
        """Encode the weights of a plan, which is done once; whether it was done now."""
        locked = self.server(plan.protocol, engine)
        total = sum(count for (verb, _), count in plan.operations.items() if verb == "encode")
        done = 0

        def count_one() -> None:
            nonlocal done
            done += 1
            update({"encoded": (done, total)})

        with locked.lock:
            if (plan.id, engine) in self._encoded:
                return False
            locked.server.prepare(count_one, plan.id)
            self._encoded.add((plan.id, engine))
        return True


def _usable(name: str) -> bool:
    try:
        return get_backend(name).available()[0]
    except ThexError:
        return False
