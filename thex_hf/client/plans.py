"""The plans of a server, which should all be for one model, and that the client's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from thex_hf.circuits.dispatch import FORMS
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.plan_reading import read_plan
from thex_hf.errors import InputError, PlanMismatch, WireError
from thex_hf.prepared.plan import PROTOCOL as PREPARED
from thex_hf.prepared.plan import AnyPlan, PreparedPlan, read_prepared_plan
from thex_hf.weights import EncoderWeights

MOST_PLANS = 16
"""Of each kind that a server may have."""


class Plans(Protocol):
    """What a server computes, by length of the text."""

    @property
    def protocol(self) -> str:
        """The one that all of them serve."""
        ...

    @property
    def sizes(self) -> Sequence[int]:
        """The padded lengths that there may be plans for, the shortest first."""
        ...

    def size(self, tokens: int) -> int:
        """The padded length of texts that may share a request. Raises as :meth:`single`."""
        ...

    def single(self, tokens: int) -> AnyPlan:
        """For one text of so many tokens. Raises InputError, PlanError: there is none."""
        ...

    def batch(self, tokens: int) -> Plan | None:
        """For many texts of that length in one request; None: it takes each by itself."""
        ...

    def pays(self, tokens: int, texts: int, processes: int) -> bool:
        """Whether so many texts of that length are expected sooner in batches.

        Args:
            tokens: of each; there is a plan for a batch of them.
            texts: how many.
            processes: that compute side by side.
        """
        ...


@dataclass(frozen=True)
class ModelFacts:
    """What a client knows of its model.

    That a plan says the same is no proof: it is the server's word. It keeps clients from the wrong
    server and from the wrong labels.

    Args:
        model: fingerprint of the encoder, see :meth:`thex_hf.weights.EncoderWeights.fingerprint`.
        form: ``the-x``, ``polynomial`` or ``normalised``.
        layers: of the encoder.
        hidden: size of an embedding.
        heads: of attention.
        intermediate: size of the FFN.
        labels: number of logits.
        head: what the classifier reads, one of :data:`thex_hf.weights.HEADS`.
    """

    model: str
    form: str
    layers: int
    hidden: int
    heads: int
    intermediate: int
    labels: int
    head: str

    @classmethod
    def of(cls, weights: EncoderWeights) -> ModelFacts:
        """Of a whole model."""
        return cls(
            weights.fingerprint(),
            weights.form,
            len(weights.layers),
            weights.hidden,
            weights.heads,
            weights.intermediate,
            weights.labels,
            weights.head,
        )

    def check(self, plan: AnyPlan) -> None:
        """Refuse a plan of another model.

        Raises:
            PlanMismatch: names what differs first.
        """
        stated = _facts(plan)
        for field in fields(self):
            if (expected := getattr(self, field.name)) != stated[field.name]:
                raise PlanMismatch(
                    f"the server has another model than this client: its {field.name} is "
                    f"{_short(stated[field.name])}, here it is {_short(expected)}; load the "
                    f"checkpoint that it serves"
                )


@dataclass(frozen=True)
class ServerPlans:
    """The plans that a server elsewhere has told of. Read with :meth:`read`.

    Args:
        singles: for one text, by padded length, the shortest first.
        batches: for many texts of one padded length.
        batch_from: the fewest texts of a padded length that the server expects to do sooner in a
            batch; it alone knows what a circuit costs. Where it does not say, a full batch.
    """

    singles: Mapping[int, AnyPlan]
    batches: Mapping[int, Plan]
    batch_from: Mapping[int, int]

    @classmethod
    def read(cls, info: Any) -> ServerPlans:
        """From what a server says of itself.

        Raises:
            WireError: its plans are none, or are of another version.
            PlanMismatch: they are not all of one model and protocol.
            SecurityError: it asks for parameters below 128 bits.
        """
        singles = [read_any_plan(plan) for plan in _plans_in(info, "plans")]
        if not singles:
            raise WireError("the server has no plan for any length")
        check_alike(singles)
        batches = [read_plan(plan) for plan in _plans_in(info, "batches", needed=False)]
        check_alike([*singles[:1], *batches], batches=True)
        one = {plan.tokens: plan for plan in sorted(singles, key=_tokens)}
        many = {plan.tokens: plan for plan in sorted(batches, key=_tokens)}
        fewest = {
            size: _fewest(info, size, plan.options["sentences"]) for size, plan in many.items()
        }
        return cls(one, many, fewest)

    @property
    def protocol(self) -> str:
        """The server's."""
        return next(iter(self.singles.values())).protocol

    @property
    def model(self) -> str:
        """Fingerprint of the server's encoder."""
        return next(iter(self.singles.values())).model

    @property
    def sizes(self) -> Sequence[int]:
        """The padded lengths, the shortest first."""
        return tuple(self.singles)

    @property
    def longest(self) -> int:
        """The most tokens that the server takes."""
        return max(self.singles)

    def check(self, facts: ModelFacts) -> None:
        """Refuse a server of another model than the client's.

        Raises:
            PlanMismatch: it has another encoder, other sizes or another number of labels.
        """
        for plan in (*self.singles.values(), *self.batches.values()):
            facts.check(plan)

    def single(self, tokens: int) -> AnyPlan:
        """The smallest plan that takes ``tokens`` tokens.

        Raises:
            InputError: none does.
        """
        for size, plan in self.singles.items():
            if tokens <= size:
                return plan
        raise InputError(
            f"the text has {tokens} tokens, the server takes {self.longest} at most; shorten it, "
            f"or classify it in windows"
        )

    def size(self, tokens: int) -> int:
        """The padded length of the plan that takes ``tokens`` tokens. Raises InputError."""
        return self.single(tokens).tokens

    def batch(self, tokens: int) -> Plan | None:
        """For many texts of the bucket that takes ``tokens`` tokens, if the server has one."""
        return self.batches.get(self.size(tokens))

    def pays(self, tokens: int, texts: int, processes: int) -> bool:
        """Whether the server expects so many texts sooner in batches; see :class:`Plans`."""
        return texts >= processes * self.batch_from[self.size(tokens)]


def check_alike(plans: Sequence[AnyPlan], *, batches: bool = False) -> None:
    """Refuse plans that are not of one model and protocol, or two for one length.

    Args:
        plans: the first one is for one text.
        batches: all others are for many texts, instead of for one.

    Raises:
        PlanMismatch: names what differs.
    """
    first, lengths = plans[0], dict[int, str]()
    for plan in plans[1:] if batches else plans:
        if ("packing" in plan.options) != batches:
            kind = "one text" if batches else "many texts"
            raise PlanMismatch(f"the server has a plan for {kind} among those of the other kind")
        if lengths.setdefault(plan.tokens, plan.id) != plan.id:
            raise PlanMismatch(f"the server has two plans for {plan.tokens} tokens")
        one, other = ({**_facts(p), "protocol": p.protocol, **_choices(p)} for p in (first, plan))
        for name, value in one.items():
            if other.get(name) != value:
                raise PlanMismatch(
                    f"the server's plans differ in their {name}: {_short(value)} and "
                    f"{_short(other.get(name))}; all should be of one model and protocol"
                )


def _facts(plan: AnyPlan) -> dict[str, Any]:
    sizes = plan.sizes if isinstance(plan, PreparedPlan) else plan.shape
    names = ("layers", "heads", "intermediate", "labels", "head")
    return {
        "model": plan.model,
        "form": plan.form if isinstance(plan, PreparedPlan) else FORMS[plan.protocol],
        "hidden": plan.hidden,
        **{name: getattr(sizes, name) for name in names},
    }


def read_any_plan(data: Any) -> AnyPlan:
    """A plan of any protocol. Raises as the two readers."""
    if isinstance(data, Mapping) and data.get("protocol") == PREPARED:
        return read_prepared_plan(data)
    return read_plan(data)


def _choices(plan: AnyPlan) -> dict[str, Any]:
    return {name: plan.options[name] for name in ("softmax", "power") if name in plan.options}


def _short(value: Any) -> str:
    return str(value)[:12]


def _tokens(plan: AnyPlan) -> int:
    return plan.tokens


def _fewest(info: Mapping[str, Any], size: int, most: int) -> int:
    """How many texts a batch pays from, as the server says; a wrong number costs time only."""
    numbers = info.get("batch_from")
    number = numbers.get(str(size), most) if isinstance(numbers, Mapping) else most
    if type(number) is not int or not 1 <= number <= most:
        raise WireError(f"the server says that a batch pays from {str(number)[:40]} texts on")
    return number


def _plans_in(info: Any, name: str, *, needed: bool = True) -> list[Any]:
    plans = info.get(name, None if needed else {}) if isinstance(info, Mapping) else None
    if not isinstance(plans, Mapping) or len(plans) > MOST_PLANS:
        raise WireError("the server did not send its plans; is it a thex_hf server?")
    return list(plans.values())
