"""Protocol ``prepared`` over HTTP with real workers and real ciphertexts, on a very small model."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from reference import polynomial_logits
from served import running, spec_of
from serving.conftest import TOKENS
from tiny_pipelines import open_tokens
from transformers import pipeline
from typer.testing import CliRunner

import thex_hf
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.cli.main import commands
from thex_hf.client.client import ThexClient
from thex_hf.client.exchange import Client
from thex_hf.client.half import ClientHalf
from thex_hf.client.http import HttpTransport
from thex_hf.errors import BusyError, QuotaError, TicketError
from thex_hf.prepared.wire import preparation_id, write_name
from thex_hf.protocol.messages import Message
from thex_hf.protocol.prepared_client import PreparedClientRun
from thex_hf.serving.runs import RunName, Runs
from thex_hf.serving.ticket_places import DatabaseLedger, FolderLedger

TEXT = np.random.default_rng(0).normal(size=(5, 16))
SENTENCES = ["A warm, funny film.", "Dull."]
METRICS = (
    "thex_ticket_batches",
    "thex_tickets_left",
    "thex_tickets_spent",
    "thex_preparation_jobs",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A model with random weights, and the folder that it is saved in with its tokenizer."""
    import torch

    torch.manual_seed(1)
    tokenizer = open_tokens()
    config = thex_hf.ThexBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=128,
        initializer_range=0.3,
        activation="quadratic",
        softmax="power",
    )
    model = thex_hf.ThexBertForSequenceClassification(config).float().eval()
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, folder


def prepared_spec(model, place, **options):
    return spec_of(model, place, backend="seal", options=PlanOptions("prepared"), **options)


@pytest.fixture(scope="module", params=["folder", "database"])
def place(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return str(folder) if request.param == "folder" else f"sqlite:///{folder}/keys.db"


@pytest.fixture(scope="module")
def service(tiny, tokens, place):
    spec = prepared_spec(tiny[0], place)
    tickets = spec.open_tickets()
    with running(spec, workers=2, tokens=tokens, tickets=tickets) as found:
        found.tickets = tickets
        yield found


def connect(service, owner="ann", **options):
    token = TOKENS[owner].replace(" ", "_")
    return Client(HttpTransport(service.url, token=token, patience=60.0), **options)


@pytest.fixture(scope="module")
def ann(service):
    client = connect(service)
    client.prepare_tickets(client.plan(5))
    return client


def good(model, result, text=TEXT):
    want = polynomial_logits(model.encoder_weights(), text)
    return np.abs(result.logits - want).max() < 0.01


def shown(service):
    lines = httpx.get(f"{service.url}/metrics").text.splitlines()
    values = dict(line.split() for line in lines if not line.startswith("#") and " " in line)
    return [int(float(values[name])) for name in METRICS]


def test_the_tickets_lie_beside_the_keys(service, place):
    kind = FolderLedger if "://" not in place else DatabaseLedger
    assert isinstance(service.tickets, kind)


def test_a_clients_tickets_last_as_long_as_the_servers(ann, service):
    assert ann.info["ticket_seconds"] == service.tickets.seconds == 7 * 86400.0
    assert ann.stock(ann.plan(5)).lifetime == service.tickets.seconds


def test_texts_are_answered_whichever_worker_prepared(ann, tiny, service):
    stock = ann.stock(ann.plan(5))
    left, spent = stock.left(), service.tickets.counts().spent
    results = ann.run_many([TEXT] * 6)
    assert all(good(tiny[0], result) for result in results)
    assert stock.left() == left - 6
    assert service.tickets.counts().spent == spent + 6
    assert all(result.prepare_seconds == 0 for result in results)


def test_metrics_tell_of_tickets(ann, service):
    batches, left, spent, jobs = shown(service)
    ann.run(TEXT)
    assert shown(service) == [batches, left - 1, spent + 1, jobs]
    assert left + spent == 512 * batches
    assert jobs >= len(ann.plan(5).batch.jobs)


def test_other_protocols_have_none(tiny, tmp_path):
    spec = spec_of(tiny[0], tmp_path, options=PlanOptions("refresh"))
    assert spec.open_tickets() is None
    with running(spec, tickets=spec.open_tickets()) as found:
        assert "ticket" not in httpx.get(f"{found.url}/metrics").text


def test_a_batch_for_which_another_would_go_is_refused(ann, service, monkeypatch):
    bound, kept = ann.info["ticket_batches"], service.tickets.counts().batches
    assert bound == service.tickets.most_batches == 64
    monkeypatch.setattr(ann._tickets, "most_batches", 1)
    with pytest.raises(QuotaError, match=r"would drop one .* tickets are still good.* What to do"):
        ann.prepare_tickets(ann.plan(5))
    assert service.tickets.counts().batches == kept


def test_another_owner_cannot_spend_them_nor_the_same_owner_twice(ann, service):
    eve, plan = connect(service, "eve"), ann.plan(5)
    mine, ticket = ann.keys_for(plan), ann.stock(plan).take()
    hers = eve.keys_for(plan)
    run = PreparedClientRun(plan, hers.key_id, ticket, TEXT)
    with pytest.raises(TicketError, match="no batch of tickets"):
        eve.server.answer(run.request(), hers.name, run.run)
    for error in (None, "is spent"):
        run = PreparedClientRun(plan, mine.key_id, ticket, TEXT)
        if error is None:
            ann.server.answer(run.request(), mine.name, run.run)
            ann.server.give_up(mine.name, run.run)
        else:
            with pytest.raises(TicketError, match=error):
                ann.server.answer(run.request(), mine.name, run.run)


def test_a_worker_that_is_killed_leaves_the_ticket_spent_and_the_others_good(ann, tiny, service):
    plan, pool = ann.plan(5), service.app.state.pool
    keys, ticket = ann.keys_for(plan), ann.stock(plan).take()
    run = PreparedClientRun(plan, keys.key_id, ticket, TEXT)
    request = run.request()
    ann.server.answer(request, keys.name, run.run)
    ((worker, _),) = (held for name, held in pool._runs.items() if name.run == run.run)
    os.kill(worker.handle.pid, signal.SIGKILL)
    time.sleep(0.2)
    with pytest.raises(TicketError, match="is spent"):
        answer_again(ann, keys, ticket)
    assert good(tiny[0], ann.run(TEXT))


def answer_again(client, keys, ticket):
    """The same ticket in another run; again, where the worker that died was asked."""
    for _ in range(3):
        run = PreparedClientRun(client.plan(5), keys.key_id, ticket, TEXT)
        try:
            client.server.answer(run.request(), keys.name, run.run)
        except TicketError:
            raise
        except thex_hf.errors.ThexError:
            continue


def test_two_clients_prepare_side_by_side(service, tiny):
    people = [connect(service, "bob"), connect(service, "eve")]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda client: client.run(TEXT), people))
    assert all(good(tiny[0], result) for result in results)
    assert all(result.prepare_seconds > 0 for result in results)


def test_tickets_go_with_their_keys(service, tiny):
    client = connect(service, "bob")
    plan = client.plan(5)
    assert good(tiny[0], client.run(TEXT))
    keys, before = client.keys_for(plan), service.tickets.counts().batches
    client.server.delete_keys(keys.name)
    assert service.tickets.counts().batches == before - 1
    left = client.stock(plan).left()
    assert left > 0
    keys.name = ""  # the client sends them anew, and then has to prepare anew
    again = client.run(TEXT)
    assert good(tiny[0], again)
    assert again.prepare_seconds > 0


def test_tickets_outlive_the_service(tiny, tmp_path):
    spec = prepared_spec(tiny[0], tmp_path / "served")
    with running(spec, tickets=spec.open_tickets()) as one:
        client = Client(HttpTransport(one.url), tmp_path / "mine")
        assert good(tiny[0], client.run(TEXT))
    with running(spec, tickets=spec.open_tickets()) as other:
        client = Client(HttpTransport(other.url), tmp_path / "mine")
        result = client.run(TEXT)
        assert good(tiny[0], result)
        assert result.prepare_seconds == 0


def test_pipeline_client_and_command_line(tiny, tmp_path):
    model, folder = tiny
    spec = prepared_spec(model, tmp_path / "served")
    with running(spec, tickets=spec.open_tickets()) as found:
        pipe = pipeline(
            "thex-text-classification",
            model=model,
            tokenizer=open_tokens(),
            backend="remote",
            url=found.url,
            keys=tmp_path / "mine",
        )
        assert pipe.protocol == "prepared"
        assert "text and model are protected" in pipe.runner.learns
        labels = [one["label"] for one in pipe(SENTENCES, agreement=True)]
        assert all(report.agreement.same_label for report in pipe.reports)
        half = ClientHalf.open(folder)
        client = ThexClient(half, HttpTransport(found.url), tmp_path / "mine", protocol="prepared")
        assert [client.classify(text).label for text in SENTENCES] == labels
        place = half.save(tmp_path / "half")
        arguments = ["classify", "--model", str(place), "--backend", "remote", "--url", found.url]
        arguments += ["--keys", str(tmp_path / "mine"), "--json", *SENTENCES]
        done = CliRunner().invoke(commands, arguments)
        assert done.exit_code == 0, done.output
        told = [json.loads(line) for line in done.stdout.splitlines()]
        assert [one["label"] for one in told] == labels
        assert {one["protocol"] for one in told} == {"prepared"}
        assert spec.open_tickets().counts().batches == 1


def test_preparations_at_once_are_bounded(ann, tiny):
    spec = prepared_spec(tiny[0], "nowhere", memory=1 << 20)
    assert spec.server().runs.most_preparing == 1
    assert prepared_spec(tiny[0], "nowhere", preparations=3).server().runs.most_preparing == 3
    assert prepared_spec(tiny[0], "nowhere").server().runs.most_preparing > 2
    plan = ann.plan(5)
    keys = ann.keys_for(plan)
    (job,) = plan.batch.linear_jobs[:1]
    chunk = job.chunks[0]
    sent = keys.engine.encrypt(np.zeros((chunk.up, 8192), np.uint64))
    server = spec.server()
    server.take_keys(keys.file)
    batch = server.tickets.open("anyone", plan.id, keys.name, 512).id
    for number, run in enumerate(("1" * 32, "2" * 32)):
        parts = [write_name(batch, 0), sent]
        data = Message("request", preparation_id(plan.id), keys.key_id, run, 0, parts).to_bytes()
        if number == 0:
            server.answer(data, keys.name)
        else:
            with pytest.raises(BusyError, match="try again later"):
                server.answer(data, keys.name)
    assert server.tickets.get("anyone", batch).attempts == {0: 1}


def test_a_quiet_preparation_makes_room_for_the_owners_next():
    now = [0.0]
    runs = Runs(most_preparing=1, clock=lambda: now[0])
    names = [RunName("ann", "keys", f"{number}" * 32) for number in range(3)]
    runs.put(names[0], None, preparing=True)
    runs.put(names[1], None)
    with pytest.raises(BusyError):
        runs.check_room(names[2], preparing=True)
    now[0] += 61
    runs.put(names[2], None, preparing=True)
    assert names[0] not in runs
    assert names[1] in runs
