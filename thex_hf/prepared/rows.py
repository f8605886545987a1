"""What a client keeps of a ticket: one row of numbers, and where in it each array lies.

A row holds the client's shares of the results of linear maps that meet a product or are the
answer, what replaces the mask of a stream, and for each product its cross terms with the product
of both masks. Masks that the client draws are not kept: a seed gives them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from thex_hf.backends.numerics.modular import Words
from thex_hf.prepared.forms import Shape
from thex_hf.prepared.network import Linear, Network, Product, Shown


@dataclass(frozen=True)
class RowLayout:
    """Where the arrays of a ticket lie in its row, by ``share``, ``delta`` or ``cross`` of a name.

    Args:
        network: that tickets are for.
    """

    network: Network

    @cached_property
    def places(self) -> dict[tuple[str, str], tuple[int, Shape]]:
        """Offset and shape of each array."""
        network = self.network
        read = (step.inputs for step in network.steps if isinstance(step, Product | Shown))
        factors = {value.name for values in read for value in values}
        wanted: list[tuple[tuple[str, str], Shape]] = []
        for step in network.steps:
            if isinstance(step, Linear) and (
                step.out.name in factors or step.out == network.logits
            ):
                wanted.append((("share", step.out.name), step.out.shape))
        wanted += [(("delta", step.out.name), step.out.shape) for step in network.remasks]
        wanted += [(("cross", step.out.name), step.out.shape) for step in network.products]
        places, offset = {}, 0
        for key, shape in wanted:
            places[key] = (offset, shape)
            offset += math.prod(shape)
        return places

    @property
    def numbers(self) -> int:
        """Numbers in a row."""
        return sum(math.prod(shape) for _, shape in self.places.values())

    def holds(self, kind: str, name: str) -> bool:
        """Whether there is such an array."""
        return (kind, name) in self.places

    def view(self, rows: Words, kind: str, name: str) -> Words:
        """The array in rows ``(..., numbers)``: a view that can be written to."""
        offset, shape = self.places[kind, name]
        part = rows[..., offset : offset + math.prod(shape)]
        view: Words = part.view()
        view.shape = (*rows.shape[:-1], *shape)
        return view
