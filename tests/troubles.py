"""What leads to each message on docs/troubleshooting.md, by the heading it stands under.

Each function runs in an empty directory and must raise.
"""

import json
import os
import socket
import subprocess
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import save_file
from source_models import make_source, make_tokenizer, save_source
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import thex_hf
from thex_hf.backends import KeyRequest, get_backend
from thex_hf.bounds import check_logits
from thex_hf.ckks.parameters import Parameters
from thex_hf.cli.outputs import Output
from thex_hf.cli.prepare import Work, check_room
from thex_hf.cli.texts import read_texts as read_given_texts
from thex_hf.client.half import ClientHalf
from thex_hf.client.http import open_transport
from thex_hf.client.tickets import MemoryStock
from thex_hf.concrete import environment
from thex_hf.conversion import convert, options_from, scores
from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.data.naming import align_labels
from thex_hf.conversion.data.reading import LabelledTexts, read_texts
from thex_hf.conversion.sources import load_source, start_model
from thex_hf.modeling.guards import refuse_pickle
from thex_hf.modeling.opening import open_model
from thex_hf.protocol.keyfile import read_file
from thex_hf.protocol.keys import KeyStore
from thex_hf.protocol.prepared_costs import TicketForecast
from thex_hf.protocol.prepared_server import MemoryLedger, spent
from thex_hf.serving.http.serve import ListenOptions
from thex_hf.serving.http.settings import BearerTokens
from thex_hf.serving.keys.repository import Limits
from thex_hf.serving.runs import RunName, Runs

TASK = "thex-text-classification"
PARAMETERS = Parameters(8192, (50, 38, 38, 38), 54, 38)
STAGES = {"bounded": 82.1, "fitted": 61.5, "layer_wise": 50.9, "converted": 50.9}
PLAN = "0123456789abcdef"
TROUBLES = {}


def under(heading):
    """Register what raises the message under that heading."""

    def register(function):
        TROUBLES[heading] = function
        return function

    return register


def bundled(form="the-x", **options):
    return pipeline(TASK, model=thex_hf.bundled_checkpoint(form), **options)


def half_of_a_pair(gone):
    """A directory of keys in which one file is cut or missing."""
    pair = get_backend("clear").generate(KeyRequest(PARAMETERS, (1,), relinearisation=True))
    KeyStore("my-keys").save(PLAN, "clear", *pair)
    return Path("my-keys", f"pair.{PLAN[:8]}", f"{gone}.key")


def rows(text, **options):
    Path("train.tsv").write_text(text, encoding="utf-8")
    read_texts("train.tsv", **options)


@under("The text is empty")
def empty_text():
    bundled()("  ", fhe="simulate")


@under("The text is too long")
def long_text():
    bundled()("word " * 200, fhe="simulate")


@under("Nothing is left of the text")
def dropped_text():
    bundled()("\u200b", fhe="simulate")


@under("The text is no Unicode")
def half_a_character():
    bundled()(f"great{chr(0xD83D)}", fhe="simulate")


@under("The name of a file was given as a text")
def file_name():
    Path("reviews.tsv").write_text("text\ngood\n")
    read_given_texts(["reviews.tsv"], None)


@under("The output is another's")
def output_of_another():
    Path("answers.csv").write_text("mine\n")
    Output.of(Path("answers.csv"), read_given_texts(["good"], None))


@under("An option does not go with another")
def ring_without_choice():
    bundled(ring=8192)


@under("An option has a wrong value")
def wrong_value():
    bundled()("a fine film", fhe="simulated")


@under("An option is misspelt")
def misspelt():
    bundled()("a fine film", agrement=True)


@under("Values ran away")
def logits_out_of_range():
    check_logits(np.array([462.0, 1682.0]), {"weights": "0" * 32, "logit": 2.5})


@under("The model has not been converted")
def unconverted():
    save_source("my-bert")
    model = AutoModelForSequenceClassification.from_pretrained("my-bert")
    pipeline(TASK, model=model, tokenizer=make_tokenizer())


@under("The weights changed since the conversion")
def _():
    model = open_model(thex_hf.bundled_checkpoint("the-x"))
    tokenizer = AutoTokenizer.from_pretrained(thex_hf.bundled_checkpoint())
    thex_hf.calibrate(model, ["good"], tokenizer)
    model.classifier.weight.data.mul_(2)
    pipeline(TASK, model=model, tokenizer=tokenizer)("good", fhe="simulate")


@under("A layer that cannot be encrypted")
def _():
    model = open_model(thex_hf.bundled_checkpoint("the-x"))
    model.thex_bert.layers[0].register_forward_hook(lambda *_: None)
    model.encoder_weights()


@under("The model is to be computed in float16")
def _():
    bundled(dtype=torch.float16)


@under("The protocol does not fit the model")
def wrong_form():
    bundled("the-x", protocol="refresh")


@under("No ticket is left")
def no_ticket():
    MemoryStock(None).take()


@under("A ticket is spent")
def spent_ticket():
    raise spent(bytes(16), 3)


@under("The server does not know the tickets")
def unknown_tickets():
    MemoryLedger().get("anna", bytes(16))


@under("There is no room for tickets")
def full_disk():
    ticket = TicketForecast(256, 0.1, (0.1, 0.1), 1, 1, 372_656)
    check_room(Work(1, ticket, 1), 12_000_000, Path("my-keys"))


@under("The ring is too small")
def small_ring():
    bundled("polynomial", protocol="one-shot", ring=8192).plan(tokens=10)


@under("No ring carries a strong flood")
def weak_flood():
    bundled("polynomial", protocol="refresh", ring=8192, flood="strong").plan(tokens=10)


@under("The backend is unknown")
def unknown_backend():
    get_backend("seel")


class WithoutHttpx(MetaPathFinder):
    """As if the library were not installed."""

    def find_spec(self, name, path=None, target=None):
        if name == "httpx":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@under("A library is missing")
def missing_library():
    finders = [WithoutHttpx(), *sys.meta_path]
    with patch.object(sys, "meta_path", finders), patch.dict(sys.modules):
        sys.modules.pop("httpx", None)
        open_transport("http://localhost:8000")


@under("torch is missing")
def missing_torch():
    program = [sys.executable, "-c", "import thex_hf; thex_hf.bundled_checkpoint"]
    environ = {**os.environ, "THEX_HF_NO_TORCH": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(program, env=environ, capture_output=True, text=True)
    raise ImportError(done.stderr.strip().splitlines()[-1].removeprefix("ImportError: "))


@under("Concrete's environment is missing")
def missing_environment():
    environment.python()


@under("The parameters are too weak")
def weak_parameters():
    Parameters(8192, (60, 40, 40, 40, 40), 60, 40).require_128_bit()


@under("The keys would lie in a model's folder")
def keys_in_a_model_folder():
    save_source("my-bert")
    KeyStore("my-bert")


@under("Half of a key pair is missing")
def lost_half():
    half_of_a_pair("secret").unlink()
    KeyStore("my-keys").load(PLAN, "clear")


@under("A key file is damaged")
def damaged_keys():
    path = half_of_a_pair("evaluation")
    path.write_bytes(path.read_bytes()[:100])
    read_file(path)


@under("A model is to be saved beside keys")
def model_beside_keys():
    half_of_a_pair("secret")
    bundled().model.save_pretrained("my-keys")


@under("The server cannot be reached")
def no_server():
    with socket.socket() as taken:  # bound and not listening: nobody answers at this port
        taken.bind(("127.0.0.1", 0))
        open_transport(f"http://127.0.0.1:{taken.getsockname()[1]}").info()


@under("A token would be sent in clear")
def token_in_clear():
    open_transport("http://example.org:8000", "a-token")


@under("The server asks for a token")
def no_token():
    BearerTokens({b"": "anna"}).owner(None, "anyone")


@under("The server does not know the token")
def unknown_token():
    BearerTokens({b"": "anna"}).owner("a-token", "anyone")


@under("The server would be open to everybody")
def open_server():
    ListenOptions(host="0.0.0.0")


@under("Others may read the tokens")
def readable_tokens():
    Path("tokens").write_text("anna " + "0" * 64, encoding="utf-8")
    Path("tokens").chmod(0o644)
    BearerTokens.read(Path("tokens"))


@under("The server is busy")
def busy_server():
    runs = Runs(most_of_keys=8)
    for number in range(9):
        name = RunName("anna", "0" * 64, str(number))
        runs.check_room(name)
        runs.put(name, object())


@under("The server gave up the text")
def expired_run():
    Runs().get(RunName("anna", "0" * 64, "0123456789abcdef" * 2))


@under("The server has no room for more keys")
def full_repository():
    Limits().check_room(125_900_000, 2_100_000_000, 2_100_000_000)


@under("The folder is not the client's half")
def no_half():
    Path("my-half").mkdir()
    ClientHalf.open("my-half")


@under("A column is missing")
def missing_column():
    rows("sentence\tsentiment\na fine film\t1\n")


@under("A row has too many fields")
def too_many_fields():
    Path("train.csv").write_text("text,label\na film,1\nGreat film, not dull,1\n")
    read_texts("train.csv")


@under("A text is missing")
def missing_text():
    rows("text\tlabel\na film\t1\n \t0\n")


@under("A label is no class of the model")
def unknown_label():
    rows("text\tlabel\na film\tgood\nthe plot\tfine\n", label_names=["bad", "good"])


@under("Labels could be names or positions")
def names_or_positions():
    rows("text\tlabel\na film\t1\nthe plot\t2\n", label_names=["1", "2", "3"])


@under("The data have other class names")
def other_names():
    texts = LabelledTexts(("a film", "the plot"), None, (0, 1), ("bad", "good"))
    align_labels(texts, ["NEGATIVE", "POSITIVE"])


@under("Every text has the same label")
def one_label():
    rows("sentence\tlabel\na fine film\t1\na good film\t1\n")


@under("The weights are pickled")
def pickled():
    Path("my-bert").mkdir()
    Path("my-bert", "pytorch_model.bin").touch()
    refuse_pickle(Path("my-bert"))


@under("The model has no classifier")
def no_classifier():
    save_source("my-encoder", ending="Model")
    Path("train.tsv").write_text("text\tlabel\na film\t0\nthe plot\t1\n", encoding="utf-8")
    options = options_from(effort=0)
    convert("my-encoder", "out", train="train.tsv", dev="train.tsv", options=options)


@under("The output folder is in use")
def folder_in_use():
    Path("my-thex-bert").mkdir()
    Path("my-thex-bert", "notes.txt").touch()
    convert("my-bert", "my-thex-bert", train="train.tsv", dev="dev.tsv")


@under("The output is the source")
def output_is_source():
    save_source("my-bert")
    options = options_from(overwrite=True)
    convert("my-bert", "my-bert", train="train.tsv", dev="dev.tsv", options=options)


@under("There is no such model")
def no_such_model():
    convert("./my-bert", "my-thex-bert", train="train.tsv", dev="dev.tsv")


@under("The source is an adapter")
def adapter_without_base():
    Path("my-adapter").mkdir()
    described = json.dumps({"base_model_name_or_path": "./my-bert", "task_type": "SEQ_CLS"})
    Path("my-adapter", "adapter_config.json").write_text(described)
    save_file({"lora": torch.ones(1)}, "my-adapter/adapter_model.safetensors")
    load_source("my-adapter")


@under("An unfinished conversion is in the way")
def other_options():
    for effort in (1, 2):
        Checkpoint.open(Path("out.partial"), {"options": effort}, restart=False, writes=True)


@under("Nothing can run the result")
def nothing_runs_it():
    source = make_source("bert", num_labels=2, initializer_range=1.0)
    model = start_model(source, norm="affine")
    seen = dict.fromkeys(("value", "layer_out", "scores"), 1.0)
    model.config.ranges = [{**seen, "ffn_pre": 1.0}, {**seen, "ffn_pre": 4e6}]
    scores.check_served(model)


@under("The polynomials ran away")
def ran_away():
    scores.check_values([{"stream_in": 4.1, "ffn_pre": 9.7}, {"stream_in": 31.0, "scores": 5e6}])


@under("Training diverged")
def diverged():
    logits = [torch.tensor([[float("nan"), 0.0]])]
    scores.check_logits(logits, STAGES, torch.zeros(1, dtype=torch.bool))
