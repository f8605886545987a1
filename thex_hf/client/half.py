"""The client's half of a model: tokenizer, embedding tables and labels; no torch, no encoder.

It is what a client needs to know of a model, and all that it should be given where the protocol
keeps the model from it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from thex_hf._paths import user_path
from thex_hf.client.encoder import form_of, head_of, read_encoder
from thex_hf.client.plans import ModelFacts
from thex_hf.client.scores import is_number
from thex_hf.errors import ConversionError, InputError
from thex_hf.tokens.options import (
    CONFIG_NAME,
    LONGEST,
    SEGMENTS,
    check_consistent,
    check_length,
    limit_of,
    most_tokens,
    read_settings,
    special_as_text,
    told_of_segments,
)
from thex_hf.tokens.texts import check_text
from thex_hf.tokens.tokenise import Tokens, embed_rows, tokens_of
from thex_hf.weights import Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WEIGHTS = "model.safetensors"
PREFIX = "thex_bert.embeddings."
PLAIN = ("config.json", "tokenizer.json", "tokenizer_config.json")
REQUIRED = (
    "word_embeddings.weight",
    "position_embeddings.weight",
    "token_type_embeddings.weight",
    "norm.weight",
    "norm.bias",
)
ENCODER = "encoder"
"""In a half's configuration: fingerprint and number of labels of the encoder it belongs to."""
PROJECT = ("embeddings_project.weight", "embeddings_project.bias")

Ids = NDArray[np.int64]


def arrays(tokens: Tokens) -> tuple[Ids, Ids]:
    """Token ids and segment numbers, ``(n,)`` each."""
    return np.array(tokens.ids, np.int64), np.array(tokens.segments, np.int64)


def is_half(folder: str | Path) -> bool:
    """Whether a folder holds the client's half of a model and no more."""
    try:
        config = json.loads((Path(folder).expanduser() / PLAIN[0]).read_text(encoding="utf-8"))
        return bool(config["part"] == "client")
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return False


@dataclass(frozen=True)
class ClientHalf:
    """Tokenises and embeds. Opened with :meth:`open`.

    Args:
        config: of the model, as JSON values.
        tables: the embedding block's tensors by name, as they are stored.
        tokenizer: of the ``tokenizers`` library.
        folder: where it came from.
        settings: of the tokenizer, as JSON values.
        longest: tokens that the server's circuit takes.
    """

    config: Mapping[str, Any] = field(repr=False)
    tables: Mapping[str, NDArray[Any]] = field(repr=False)
    tokenizer: Tokenizer = field(repr=False)
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    longest: int = LONGEST

    @classmethod
    def open(cls, folder: str | Path) -> ClientHalf:
        """From a folder that :meth:`save` wrote, or from a whole model's; only tables are read.

        Raises:
            ConversionError: a file is missing or damaged, it is no THE-X model, or the tokenizer's
                two files differ.
        """
        from tokenizers import Tokenizer

        place = user_path("model", folder)
        missing = [name for name in (*PLAIN[:2], WEIGHTS) if not (place / name).is_file()]
        if missing:
            raise ConversionError(
                f"{str(place)!r} should hold the client's half of a model, but has no "
                f"{', '.join(missing)}; make one with: thex-hf client-half MODEL OUT"
            )
        try:
            config = json.loads((place / PLAIN[0]).read_text(encoding="utf-8"))
            tokenizer = Tokenizer.from_file(str(place / PLAIN[1]))
            with safe_open(place / WEIGHTS, "numpy") as file:
                names = [name for name in file.keys() if name.startswith(PREFIX)]  # noqa: SIM118
                tables = {name.removeprefix(PREFIX): file.get_tensor(name) for name in names}
        except Exception as error:  # the two libraries raise what they like
            raise ConversionError(f"{str(place)!r} is damaged: {error}; get it again") from error
        half = cls(config, tables, tokenizer, place, read_settings(place))
        half._check()
        check_consistent(half.settings, tokenizer.to_str(), str(place))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = special_as_text(half.settings)
        return half

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the logits, in order."""
        table = self.config.get("id2label") or {}
        return tuple(table[key] for key in sorted(table, key=int))

    @cached_property
    def facts(self) -> ModelFacts:
        """What a server's plan must say of the model: its encoder, sizes and labels.

        Read from the half, or worked out of the whole model.

        Raises:
            ConversionError: a half of an earlier version does not say; or the model is no
                converted one.
        """
        config = self.config
        if not is_half(self.folder):
            return ModelFacts.of(read_encoder(self.folder / WEIGHTS, config))
        try:
            known = config[ENCODER]
            return ModelFacts(
                str(known["fingerprint"]),
                form_of(config),
                int(config["num_hidden_layers"]),
                int(config["hidden_size"]),
                int(config["num_attention_heads"]),
                int(config["intermediate_size"]),
                int(known["labels"]),
                head_of(config),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConversionError(
                f"{str(self.folder)!r} does not say which encoder it belongs to ({error}), as "
                f"halves of earlier versions did not; write it again where the whole model is: "
                f"thex-hf client-half MODEL OUT"
            ) from error

    @property
    def hidden(self) -> int:
        """Size of an embedding, d."""
        return int(self.config["hidden_size"])

    @property
    def limit(self) -> int:
        """The most tokens of a text: the circuit's, the model's and the tokenizer's."""
        positions = len(self._table(REQUIRED[1]))
        return limit_of(positions, most_tokens(self.settings), self.longest)

    @property
    def special(self) -> int:
        """How many special tokens a text gets."""
        return int(self.tokenizer.num_special_tokens_to_add(False))

    @property
    def every_token(self) -> bool:
        """Whether the model classifies tokens, not texts."""
        return head_of(self.config) == "tokens"

    @property
    def number(self) -> bool:
        """Whether the model answers a number, not labels."""
        return is_number(self.config.get("problem_type"), len(self.labels))

    def tokenise(self, text: str, pair: str | None = None) -> tuple[Ids, Ids]:
        """Token ids and segment numbers of a text or pair, ``(n,)`` each, special tokens included.

        They are those of the pipeline.

        Raises:
            InputError: no text, one that is empty or of which nothing is left, or one that is too
                long.
        """
        tokens = self.read(text, pair)
        check_length(len(tokens), self.limit, "shorten it, or classify it in windows")
        return arrays(tokens)

    def read(self, text: str, pair: str | None = None) -> Tokens:
        """The tokens of a text or pair, however many there are.

        Raises:
            InputError: no text, or one that is empty or of which nothing is left.
        """
        check_text(text)
        if pair is not None:
            check_text(pair, "the second text")
        told = told_of_segments(self.settings)
        tokens = tokens_of(self.tokenizer.encode(text, pair), pair, segments=told is not False)
        if told is None and any(tokens.segments) and len(self._table(REQUIRED[2])) > 1:
            raise InputError(
                f"{str(self.folder / CONFIG_NAME)!r} does not say whether the model is told which "
                f'text a token is of: add "model_input_names", with or without "{SEGMENTS}"'
            )
        return tokens

    def embed(self, ids: Ids, types: Ids | None = None) -> Array:
        """Word, position and segment embeddings, normed and perhaps projected: ``(n, d)``.

        The same numbers as the pipeline's, and as the torch model's to about 1e-6, which computes
        in float32.

        Raises:
            InputError: more tokens than the model has positions, or an id outside a table.
        """
        words, positions, segments = (self._table(name) for name in REQUIRED[:3])
        if len(ids) > len(positions):
            raise InputError(f"{len(ids)} tokens, the model has positions for {len(positions)}")
        if types is None or len(segments) == 1:
            types = np.zeros_like(ids)
        for name, given, table in (("token", ids, words), ("segment", types, segments)):
            if len(given) and not 0 <= given.min() <= given.max() < len(table):
                raise InputError(f"{name} ids should be below {len(table)}, got {given.max()}")
        project = None
        if PROJECT[0] in self.tables:
            project = self._table(PROJECT[0]), self._table(PROJECT[1])
        return embed_rows(
            words[ids],
            segments[types],
            positions[: len(ids)],
            (self._table(REQUIRED[3]), self._table(REQUIRED[4]), self.config["layer_norm_eps"]),
            project,
        )

    def save(self, folder: str | Path) -> Path:
        """Write the half into a new folder: tables, tokenizer and configuration.

        The configuration gets the encoder's fingerprint and number of labels, by which a client
        knows the server of its model.

        Raises:
            ConversionError: the folder is there and not empty; or as :attr:`facts`.
        """
        known = {"fingerprint": self.facts.model, "labels": self.facts.labels}
        place = user_path("output", folder)
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise ConversionError(f"{str(place)!r} is there already; name a new folder")
        place.mkdir(parents=True, exist_ok=True)
        # a part, so that nobody loads it as a whole model
        config = {**self.config, "part": "client", ENCODER: known}
        (place / PLAIN[0]).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for name in PLAIN[1:]:
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, place / name)
        tables = {PREFIX + name: np.ascontiguousarray(table) for name, table in self.tables.items()}
        save_file(tables, place / WEIGHTS, metadata={"format": "pt", "part": "client"})
        return place

    def _check(self) -> None:
        if self.config.get("model_type") != "thex_bert":
            raise ConversionError(
                f"{str(self.folder)!r} should be a THE-X checkpoint (model_type 'thex_bert'), but "
                f"its model_type is {self.config.get('model_type')!r}. Convert it first: run "
                f"thex-hf convert"
            )
        missing = [name for name in REQUIRED if name not in self.tables]
        if missing:
            raise ConversionError(
                f"{str(self.folder)!r} has no {', '.join(missing)}; it is not the client's half"
            )

    def _table(self, name: str) -> NDArray[Any]:
        return self.tables[name]
