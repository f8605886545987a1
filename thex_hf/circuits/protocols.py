"""The protocols and the choices that they leave, by name, and what each side learns.

Loads no library: help and completion of the command line come from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from thex_hf._choices import one_of
from thex_hf.errors import OptionError

BUCKETS = (16, 32, 64, 128)
"""Padded lengths of circuits, in tokens."""


@dataclass(frozen=True)
class ProtocolFacts:
    """What everything else reads of a protocol.

    Args:
        form: of the models that it serves.
        learns: what each side learns, in a sentence for users.
        protects_model: whether the client gets nothing of the weights but the logits: then the
            server needs a public key and conjugations, and floods its answer.
        batches: whether many texts may share a request; for ``one-shot`` no machine of ours was
            large enough.
        circuit: whether a text runs as a circuit on the slots of CKKS ciphertexts, which has
            levels and key switches.
        buckets: padded lengths, in tokens.
        also: other forms that it serves.
        opens: one of these, under which the client learns what :attr:`shows` says.
        shows: what each side learns then.
    """

    form: str
    learns: str
    protects_model: bool
    batches: bool
    circuit: bool = True
    buckets: tuple[int, ...] = BUCKETS
    also: tuple[str, ...] = ()
    opens: str = ""
    shows: str = ""


PROTOCOL_FACTS = {
    "refresh": ProtocolFacts(
        "polynomial",
        "refresh protocol: the server sees ciphertexts and the padded length only; the client "
        "sees numbers that are uniform modulo the whole modulus, whatever it sends, and the "
        "logits: text and model are protected.",
        protects_model=True,
        batches=True,
    ),
    "one-shot": ProtocolFacts(
        "polynomial",
        "one-shot protocol: one request, one reply; the server sees ciphertexts and the padded "
        "length only, the client sees the logits: text and model are protected.",
        protects_model=True,
        batches=False,
    ),
    "client-aided": ProtocolFacts(
        "the-x",
        "client-aided protocol: the server sees ciphertexts and the padded length only, the client "
        "sees values that give the weights away: the text is protected, the model is not.",
        protects_model=False,
        batches=False,
    ),
    "prepared": ProtocolFacts(
        "polynomial",
        "prepared protocol: everything encrypted is computed before the text is known; then the "
        "server sees uniform numbers and the padded length only, the client sees uniform numbers "
        "and the logits: text and model are protected.",
        protects_model=True,
        batches=False,
        circuit=False,
        buckets=(*BUCKETS, 256, 512),
        also=("normalised", "the-x"),
        opens="the-x",
        shows="prepared protocol, THE-X form: everything encrypted is computed before the text is "
        "known; then the server sees uniform numbers and the padded length only, the client sees "
        "values that give the weights away: the text is protected, the model is not.",
    ),
}
"""The one table of protocols, by name: of a form the usual one first."""

PROTOCOLS = tuple(PROTOCOL_FACTS)
FORMS = {name: facts.form for name, facts in PROTOCOL_FACTS.items()}
"""Protocols, and the form of model that each serves."""
MODEL_FORMS = tuple(
    dict.fromkeys(form for facts in PROTOCOL_FACTS.values() for form in (facts.form, *facts.also))
)
"""Forms of models that some protocol serves."""
CIRCUITS = tuple(name for name, facts in PROTOCOL_FACTS.items() if facts.circuit)
"""Protocols whose texts run as circuits on CKKS ciphertexts."""
LEARNS = {name: facts.learns for name, facts in PROTOCOL_FACTS.items()}
"""Protocols, and what each side learns."""


def serves(protocol: str, form: str) -> bool:
    """Whether a protocol runs models of a form."""
    facts = PROTOCOL_FACTS[protocol]
    return form in (facts.form, *facts.also)


def protocols_of(form: str) -> tuple[str, ...]:
    """The protocols that run models of a form, the usual one first; none of an unknown form."""
    return tuple(name for name in PROTOCOL_FACTS if serves(name, form))


def protects_model(protocol: str, form: str) -> bool:
    """Whether the client gets nothing of the weights of a model of that form but the logits."""
    facts = PROTOCOL_FACTS[protocol]
    return facts.protects_model and form != facts.opens


def learns_of(protocol: str, form: str) -> str:
    """What each side learns when a model of that form runs."""
    facts = PROTOCOL_FACTS[protocol]
    return facts.shows if form == facts.opens else facts.learns


SOFTMAX = ("estimate", "exact", "estimate-on-server")
"""For ``client-aided``: who finishes the estimate, or the exact one."""

RELU = ("client", "server")
"""For ``client-aided``: who rectifies; the server where the engine can do it on ciphertext."""

RINGS = (8192, 16384, 32768)
"""Ring degrees N that ``refresh`` and ``one-shot`` may be given."""

FLOODS = ("light", "strong")
"""Noise on the logits of ``refresh`` and ``one-shot``."""


@dataclass(frozen=True)
class PlanOptions:
    """The choices that, with weights and length of a text, make a plan.

    What a protocol has no use for is passed over.

    Args:
        protocol: one of :data:`PROTOCOLS`.
        softmax: one of :data:`SOFTMAX`, for models of the THE-X form.
        ring: ring degree N, one of :data:`RINGS`, for ``refresh`` and ``one-shot``; the cheapest
            if None.
        flood: one of :data:`FLOODS`, for ``refresh`` and ``one-shot``; ``light`` if None.

    Raises:
        OptionError: one that is not on offer.
    """

    protocol: str = "client-aided"
    softmax: str = "estimate"
    ring: int | None = None
    flood: str | None = None

    def __post_init__(self) -> None:
        """Check the choices."""
        if one_of("protocol", self.protocol, PROTOCOLS) == "client-aided":
            one_of("softmax", self.softmax, SOFTMAX)
        if self.ring is not None and (type(self.ring) is not int or self.ring not in RINGS):
            raise OptionError(
                f"ring must be one of {', '.join(map(str, RINGS))}, got {self.ring!r}"
            )
        if self.flood is not None:
            one_of("flood", self.flood, FLOODS)

    @property
    def rings(self) -> tuple[int, ...]:
        """Ring degrees to try, smallest first."""
        return RINGS if self.ring is None else (self.ring,)


DEFAULT_OPTIONS = PlanOptions()
"""Of ``client-aided``, with the softmax that THE-X estimates."""


UNSERVED = ("clear", "concrete", "remote")
"""Backends that have a name and cannot be served."""
