"""Measure a model's ranges again, after its weights changed: ``thex_hf.calibrate``."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thex_hf._choices import is_lines_name
from thex_hf._paths import user_path
from thex_hf.conversion.data.reading import LabelledTexts, read_texts
from thex_hf.conversion.options import ConversionOptions
from thex_hf.conversion.training.augment import strange_batches
from thex_hf.conversion.training.batches import encode, sample
from thex_hf.errors import ConversionError, InputError
from thex_hf.modeling.adapters import ADVICE, unwrapped
from thex_hf.modeling.calibrate import calibrate_on
from thex_hf.modeling.cards.card import write_card
from thex_hf.modeling.cards.measures import outdate_measures
from thex_hf.modeling.export import refuse_unconverted
from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier
from thex_hf.modeling.opening import check_tokenizer, open_model, open_tokenizer
from thex_hf.tables.files import read_file

DEFAULTS = ConversionOptions()
SEED = 0


@dataclass(frozen=True)
class Calibration:
    """What was measured: as ``ranges`` and ``calibration`` in the configuration of a model.

    ``ranges`` has for each layer the largest absolute values seen, ``logit`` is the largest
    absolute logit, ``texts`` how many texts were seen, ``strange`` how many that nobody wrote
    (:mod:`thex_hf.conversion.training.augment`), ``beyond`` how many of these gave values beyond
    twice the others', ``weights`` the digest of the weights, and ``folder`` where
    ``config.json`` was written, or None.
    """

    ranges: list[dict[str, float]]
    weights: str
    logit: float
    texts: int
    strange: int
    beyond: int
    folder: str | None = None

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def calibrate(
    model: Any,
    texts: Any,
    tokenizer: Any = None,
    *,
    split: str = "train",
    limit: int = DEFAULTS.calibration_texts,
    save: bool = True,
) -> Calibration:
    """Measure how large values inside a model get, which sizes the encrypted circuit.

    Needed whenever weights changed after the conversion: training, merging an adapter.

    Args:
        model: a THE-X classifier, perhaps with adapters or inside a ``PeftModel``; or the folder
            of one. The numbers go into its configuration.
        texts: such as the model will get, the more kinds the better: strings, pairs, tables with
            ``text`` and perhaps ``text_pair``, or lists of words for a model that classifies
            tokens; or the name of a data file or data set as for ``thex-hf convert``, or of a
            ``.txt`` file with a text a line.
        tokenizer: the model's; that of the folder if None.
        split: of a named data set.
        limit: at most so many texts, spread evenly; as many strange ones are added.
        save: write ``config.json`` and the card, if ``model`` is a folder.

    Raises:
        ConversionError: not such a model, a value that is not finite, or the data cannot be read.
        InputError: no texts, or something that is no text; names the row.
    """
    folder = Path(model) if isinstance(model, str | os.PathLike) else None
    if folder is not None and not (folder / "config.json").is_file():
        raise ConversionError(
            f"{str(folder)!r} should be the folder of a THE-X model; it has no config.json. One on "
            f"the Hub is downloaded with: hf download. Is it an adapter? {ADVICE}"
        )
    loaded = open_model(folder) if folder is not None else unwrapped(model)
    if not isinstance(loaded, ThexBertClassifier):
        raise ConversionError(
            f"expected a THE-X classifier or the folder of one, got {type(loaded).__name__}; "
            "convert it first: thex-hf convert"
        )
    refuse_unconverted(loaded.config)
    data = _read(texts, split, every_token=loaded.every_token)
    tokenizer = _tokenizer(tokenizer, loaded, folder)
    length = min(DEFAULTS.max_length, loaded.config.max_position_embeddings)
    encoded = encode(tokenizer, data, length)
    device = loaded.device
    before = loaded.config.ranges
    usual, strange = (
        [{k: v.to(device) for k, v in batch.items()} for batch in batches]
        for batches in (sample(encoded, limit), strange_batches(encoded, limit, SEED))
    )
    calibrate_on(loaded, usual, strange)
    config = loaded.config
    if folder is not None and save:
        if config.ranges != before:
            outdate_measures(folder)
        _write(folder / "config.json", {"ranges": config.ranges, "calibration": config.calibration})
        write_card(folder)
    where = str(folder) if folder is not None and save else None
    return Calibration(config.ranges, **config.calibration, folder=where)


def _tokenizer(given: Any, model: ThexBertClassifier, folder: Path | None) -> Any:
    if given is not None:
        check_tokenizer(given, model.config.vocab_size, str(getattr(given, "name_or_path", "")))
        return given
    if folder is None:
        raise InputError("give the model's tokenizer: thex_hf.calibrate(model, texts, tokenizer)")
    return open_tokenizer(folder, model.config.vocab_size)


def _read(texts: Any, split: str, *, every_token: bool) -> LabelledTexts:
    """Texts in whatever form, as a table without labels of any meaning."""
    if isinstance(texts, str | os.PathLike):
        if is_lines_name(str(texts)):
            lines = read_file(user_path("texts", texts)).column("text")
            return _table((line for line in lines if line.strip()), every_token)
        return read_texts(str(texts), split=split, regression=None, one_class=True)
    if not isinstance(texts, Iterable):
        raise InputError(f"texts should be a list or a data file; got {type(texts).__name__}")
    return _table(texts, every_token)


def _table(texts: Iterable[Any], every_token: bool) -> LabelledTexts:
    rows = [_row(text, number, every_token) for number, text in enumerate(texts, start=1)]
    if not rows:
        raise InputError("calibration needs at least one text; none was given.")
    if len({len(row) for row in rows}) > 1 and not every_token:
        raise InputError("texts should be all single or all pairs; got both.")
    nothing = (0,) * len(rows)
    if every_token and any(len(row) > 1 for row in rows):
        words = tuple(tuple(row) if len(row) > 1 else tuple(row[0].split()) for row in rows)
        tags = tuple((0,) * len(row) for row in words)
        return LabelledTexts(tuple(map(" ".join, words)), None, tags, ("-",), "tags", words)
    pairs = tuple(row[1] for row in rows) if len(rows[0]) == 2 else None
    return LabelledTexts(tuple(row[0] for row in rows), pairs, nothing, ("-",))


def _row(text: Any, number: int, every_token: bool) -> tuple[str, ...]:
    """One text, a pair, or words."""
    if isinstance(text, Mapping):
        text = [text.get("text"), *([text["text_pair"]] if text.get("text_pair") else [])]
    parts = (
        (text,) if isinstance(text, str) else tuple(text) if isinstance(text, list | tuple) else ()
    )
    good = all(isinstance(part, str) and part.strip() for part in parts)
    if not parts or not good or (len(parts) > 2 and not every_token):
        raise InputError(f"text {number} should be a text or a pair of texts; got {text!r:.80}")
    return parts


def _write(path: Path, changes: dict[str, Any]) -> None:
    """Change fields of a JSON file, all at once or not at all."""
    values = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    text = json.dumps(values, indent=2, sort_keys=True) + "\n"
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=".config-", delete=False
    ) as file:
        file.write(text)
    try:
        os.chmod(file.name, path.stat().st_mode)
        os.replace(file.name, path)
    except OSError:
        Path(file.name).unlink(missing_ok=True)
        raise
