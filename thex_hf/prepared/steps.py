"""A network as JSON, without its weights, and back: how a client gets it.

What comes here came over a network: every value is bounded, and everything that follows from
others is compared. Most of all, no two values share a name: a mask belongs to a name, and two
numbers under one mask would show their difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import numpy as np
from msgspec import Meta, Struct, ValidationError, convert

from thex_hf.errors import WireError
from thex_hf.prepared.clear import FUNCTIONS
from thex_hf.prepared.forms import Context, Form, Masked, Scaled, Scores, Square, SquaredSum, Times
from thex_hf.prepared.network import Linear, Network, Product, Remask, RowSum, Shown, Step, Value

MOST_NUMBERS = 1 << 28
"""In all values of one text."""
Name: TypeAlias = Annotated[str, Meta(pattern=r"\A[0-9a-z.]{1,40}\Z")]
Size: TypeAlias = Annotated[int, Meta(ge=1, le=1 << 16)]
Shape: TypeAlias = Annotated[tuple[Size, ...], Meta(min_length=1, max_length=3)]
Bits: TypeAlias = Annotated[int, Meta(ge=0, le=40)]


class ValueFields(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """Name, shape, bits."""

    name: Name
    shape: Shape
    bits: Bits

    def value(self) -> Value:
        """The value."""
        return Value(self.name, self.shape, self.bits)


class StepFields(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step."""

    kind: str
    out: ValueFields
    inputs: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=16)]
    shift: Bits = 0
    heads: Annotated[int, Meta(ge=0, le=1024)] = 0
    known: bool = False
    function: str = ""


class NetworkFields(Struct, frozen=True, forbid_unknown_fields=True):
    """A network."""

    embeddings: ValueFields
    mask: ValueFields
    steps: Annotated[tuple[StepFields, ...], Meta(min_length=1, max_length=8192)]
    logits: Name


PRODUCTS = {
    "scores": Scores,
    "context": Context,
    "square": Square,
    "times": Times,
    "masked": Masked,
    "squaredsum": SquaredSum,
    "scaled": Scaled,
}
"""Products by the name that a plan gives them."""


def network_json(network: Network) -> dict[str, Any]:
    """A network as JSON values, without its weights."""
    return {
        "embeddings": _value_json(network.embeddings),
        "mask": _value_json(network.mask),
        "steps": [_step_json(step) for step in network.steps],
        "logits": network.logits.name,
    }


def _value_json(value: Value) -> list[Any]:
    return [value.name, list(value.shape), value.bits]


def _step_json(step: Step) -> dict[str, Any]:
    data: dict[str, Any] = {
        "kind": type(step).__name__.lower(),
        "out": _value_json(step.out),
        "inputs": [value.name for value in step.inputs],
    }
    if isinstance(step, Linear | Product):
        data["shift"] = step.shift
    if isinstance(step, Product):
        data["kind"] = next(name for name, form in PRODUCTS.items() if type(step.form) is form)
        if isinstance(step.form, Scores | Context):
            data["heads"] = step.form.heads
        if isinstance(step.form, Context) and step.form.known:
            data["known"] = True
    if isinstance(step, Product | Shown) and step.function:
        data["function"] = step.function
    return data


def read_network(data: Mapping[str, Any]) -> Network:
    """The network that ``data`` describes, without weights: what a client needs.

    Raises:
        WireError: it is none, or not one that can be run safely.
    """
    try:
        fields = convert(data, NetworkFields)
    except ValidationError as error:
        raise WireError(f"this is not a network of the prepared protocol: {error}") from None
    embeddings, mask = fields.embeddings.value(), fields.mask.value()
    _require(len(embeddings.shape) == 2, "embeddings have rows and features")
    _require(mask.shape == embeddings.shape[:1], "the mask has a number for each token")
    known = {embeddings.name: embeddings}
    _require(mask.name not in known, "names are used once")
    known[mask.name] = mask
    steps, total = [], embeddings.size
    for one in fields.steps:
        _require(one.out.name not in known, f"names are used once, {one.out.name!r} twice")
        _require(all(name in known for name in one.inputs), f"inputs of {one.out.name!r}")
        steps.append(_step(one, [known[name] for name in one.inputs]))
        known[one.out.name] = steps[-1].out
        total += steps[-1].out.size
        _require(total <= MOST_NUMBERS, f"at most {MOST_NUMBERS} numbers")
    _require(fields.logits in known, "logits are a value")
    network = Network(embeddings, mask, tuple(steps), known[fields.logits])
    _check_masks(network)
    return network


def _step(fields: StepFields, inputs: list[Value]) -> Step:
    out, kind = fields.out.value(), fields.kind
    if kind == "linear":
        _require(
            all(len(v.shape) == 2 and v.shape[0] >= out.shape[0] for v in inputs)
            and len(out.shape) == 2,
            f"rows of {out.name!r}",
        )
        none, bias = np.zeros((0, 0), np.int16), np.zeros(0, np.int64)
        return Linear(out, tuple((value, none) for value in inputs), bias, fields.shift)
    _require(fields.function in ("", *FUNCTIONS), f"what a client makes of {out.name!r}")
    if kind in ("remask", "rowsum", "shown"):
        (source,) = _some(inputs, 1, out)
        if kind == "shown":
            fits = source.shape == out.shape and len(out.shape) == 2 and fields.function == "relu"
            _require(fits, f"shape of {out.name!r}")
            return Shown(out, source, fields.function)
        if kind == "remask":
            _require((out.shape, out.bits) == (source.shape, source.bits), f"shape of {out.name!r}")
            return Remask(out, source)
        _require(
            len(source.shape) == 2 and out.shape == (1, source.shape[1]), f"shape of {out.name!r}"
        )
        return RowSum(out, source)
    left, right = _some(inputs, 2, out)
    form = _form(fields, left, right)
    _require(form.shape(left.shape, right.shape) == out.shape, f"shape of {out.name!r}")
    if fields.function:
        _require(kind == "scores" and fields.function != "relu", f"what becomes of {out.name!r}")
        return Product(out, form, left, right, 0, function=fields.function)
    _require(left.bits + right.bits - fields.shift == out.bits, f"bits of {out.name!r}")
    return Product(out, form, left, right, fields.shift)


def _form(fields: StepFields, left: Value, right: Value) -> Form:
    kind, heads, out = fields.kind, fields.heads, fields.out
    a, b = left.shape, right.shape
    if kind in ("scores", "context"):
        ranks = (2, 2) if kind == "scores" else (3, 2)
        fits = (len(a), len(b)) == ranks and heads > 0 and b[1] % heads == 0
        inner = a[1] == b[1] if kind == "scores" else a[0] == heads and a[2] == b[0]
        _require(fits and inner, f"factors of {out.name!r}")
        return Scores(heads) if kind == "scores" else Context(heads, fields.known)
    if kind == "masked":
        _require(len(b) == 2 and a == b[:1], f"factors of {out.name!r}")
        return Masked(b[1])
    if kind == "squaredsum":
        _require(len(a) == 2 and left == right, f"factors of {out.name!r}")
        return SquaredSum()
    if kind == "scaled":
        _require(len(b) == 2 and a == (b[0], 1), f"factors of {out.name!r}")
        return Scaled(b)
    _require(kind in ("square", "times") and a == b, f"factors of {out.name!r}")
    _require(kind == "times" or left == right, f"factors of {out.name!r}")
    return Square(a) if kind == "square" else Times(a)


def _check_masks(network: Network) -> None:
    """Linear maps and remasking take values as the client expects them.

    Only the client's own masks may enter a linear map, and a number that is known to the client,
    the mask of tokens, meets products that are made for it.
    """
    fresh = {value.name for value in network.fresh}
    for step in network.linears:
        _require(all(value.name in fresh for value in step.inputs), f"inputs of {step.out.name!r}")
    known: dict[str, type[Form]] = {network.mask.name: Masked}
    for exchanged in (one for steps in network.rounds for one in steps):
        if exchanged.function:
            known[exchanged.out.name] = Context
    for product in network.products:
        kind = known.get(product.left.name)
        fits = isinstance(product.form, kind) if kind else True
        _require(
            fits and product.form.left_is_clients == (kind is not None),
            f"factors of {product.out.name!r}",
        )
    sources = [step.source.name for step in network.remasks]
    _require(len(set(sources)) == len(sources), "a value gets one new mask")
    linears = {step.out.name for step in network.linears}
    _require(all(name in linears for name in sources), "only results of linear maps get new masks")


def _some(inputs: list[Value], count: int, out: Value) -> list[Value]:
    _require(len(inputs) == count, f"{out.name!r} has {count} inputs")
    return inputs


def _require(fits: bool, what: str) -> None:
    if not fits:
        raise WireError(f"this network of the prepared protocol does not hold together: {what}")
