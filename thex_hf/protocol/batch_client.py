"""The client role for many texts in one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thex_hf.circuits.batched.layout import BatchLayout
from thex_hf.circuits.schedule import ANSWER_LEVEL, Part
from thex_hf.ckks.engine import Vector
from thex_hf.errors import InputError
from thex_hf.protocol.client import Conversation, check_embeddings


@dataclass
class BatchClientRun(Conversation):
    """Many texts' way through the protocol; :attr:`logits` are ``(texts, labels)``.

    The server learns neither how many texts there are nor how long each is.
    """

    embeddings: Sequence[Vector]  # (n_i, d) each, at most as many as the plan's sentences

    def __post_init__(self) -> None:
        most = int(self.plan.options["sentences"])
        if not 1 <= len(self.embeddings) <= most:
            raise InputError(f"a batch takes 1 to {most} texts, got {len(self.embeddings)}")
        for text in self.embeddings:
            check_embeddings(self.plan, text)

    def _inputs(self) -> list[list[bytes]]:
        shape, schedule = self.plan.shape, self.plan.schedule
        most = int(self.plan.options["sentences"])
        padded = np.zeros((most, shape.tokens, shape.hidden))
        share = np.zeros((most, shape.tokens, 1))
        for index, text in enumerate(self.embeddings):
            padded[index, : len(text)] = text
            share[index, : len(text)] = 1.0 / len(text)
        contents = [padded] * len(schedule.request) + [share] * len(schedule.masks)
        parts = []
        for values, (layout, level) in zip(contents, schedule.inputs, strict=True):
            assert isinstance(layout, BatchLayout)
            parts.append(self._encrypt(layout.pack(values), level))
        return parts

    def _reply(self, part: Part, ciphertexts: list[bytes]) -> list[list[bytes]]:
        return self.engine.renew(ciphertexts, part.moves, part.level)

    def _read(self, ciphertexts: list[bytes]) -> Vector:
        answer = self.plan.schedule.answer
        assert isinstance(answer, BatchLayout)
        vectors = [self.engine.decrypt(c, ANSWER_LEVEL) for c in ciphertexts]
        return answer.unpack(vectors)[: len(self.embeddings), 0]
