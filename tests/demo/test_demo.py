"""The page's own logic, on real ciphertexts; the page itself is in test_page.py."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from source_models import make_tokenizer

import thex_hf
from thex_hf.backends import get_backend
from thex_hf.client.half import ClientHalf
from thex_hf.demo.recording import RecordingBackend, RecordingTransport, on_key_switch
from thex_hf.demo.sessions import Servers, Sessions, run, unknown_token
from thex_hf.demo.view import (
    KEYS,
    MOST_TOKENS,
    PANELS,
    PUBLIC_KEY,
    Prediction,
    ViewState,
    WireMessage,
    picture_of_bytes,
    picture_of_numbers,
    render,
)
from thex_hf.errors import InputError
from thex_hf.protocol.keys import key_request

pytest.importorskip("PIL.Image", reason="the page needs thex_hf[demo]")
TEXT = "a warm and funny film"


@pytest.fixture(scope="module")
def servers():
    return Servers({"the-x": thex_hf.bundled_checkpoint("the-x")})


@pytest.fixture(scope="module")
def crossed():
    """Whole messages, in order."""
    return []


@pytest.fixture(scope="module")
def states(servers, crossed):
    """Every view state of one text under real encryption, and its visitor."""
    session = Sessions(servers).of("one")
    with pytest.MonkeyPatch.context() as patch:
        original = RecordingTransport._record

        def record(self, name, data, *, up):
            crossed.append(data)
            original(self, name, data, up=up)

        patch.setattr(RecordingTransport, "_record", record)
        return session, list(run(session, TEXT, "client-aided", "seal"))


def test_the_answer_is_the_clear_models(states):
    last = states[1][-1]
    assert last.status == "answered"
    assert last.answer.label == last.clear.label == "POSITIVE"
    assert np.abs(last.answer.logits - last.clear.logits).max() < 1e-3
    assert (last.answer.logits != last.clear.logits).any()  # it did go through encryption


@pytest.mark.parametrize(("text", "unknown"), [(TEXT, False), ("a warm \U0001f984 film", True)])
def test_the_unknown_token_is_explained_where_it_is_shown(servers, text, unknown):
    last = list(run(Sessions(servers).of("x"), text, "client-aided", "clear"))[-1]
    assert last.status == "answered", last.error
    assert ("[UNK]" in last.tokens) is unknown
    panels = render(last)
    assert ("<code>[UNK]</code>: a word or sign that" in panels[0]) is unknown
    assert "vocabulary lacks" not in "".join(panels[1:])


def test_the_unknown_token_is_the_tokenizers_own():
    half, tokenizer = ClientHalf.open(thex_hf.bundled_checkpoint()), make_tokenizer()
    fast = tokenizer.backend_tokenizer
    for settings in ({"unk_token": "<unk>"}, {"unk_token": {"content": "<unk>"}}):
        assert unknown_token(replace(half, settings=settings, tokenizer=fast)) == "<unk>"
    assert unknown_token(replace(half, settings={}, tokenizer=fast)) == "[UNK]"
    many = ("good",) * MOST_TOKENS
    state = ViewState(tokens=("<s>", "<unk>"), unknown="<unk>")
    assert "<code>&lt;unk&gt;</code>: a word" in render(state)[0]
    # none that is shown, and a tokenizer that has none
    for other in ({"tokens": (*many, "<unk>")}, {"unknown": ""}):
        assert "vocabulary lacks" not in render(replace(state, **other))[0]


def test_progress_grows_and_ends_at_the_plans_count(states):
    done = [state.key_switches[0] for state in states[1]]
    assert done == sorted(done)
    assert done[-1] == states[1][-1].key_switches[1] > 0
    assert any(0 < count < done[-1] for count in done)


def test_both_sides_were_shown_at_work(states):
    assert {state.active for state in states[1]} == {"client", "server"}


def test_messages_are_the_plans(states):
    last = states[1][-1]
    assert last.all_messages[0].name == KEYS
    assert last.all_messages[0].size == last.key_bytes
    assert [one.up for one in last.text_messages] == [True, False] * last.rounds
    assert last.text_messages[1].name == "layer 0 attention"
    assert last.text_messages[-1].name == "answer"


def test_nothing_private_crosses(states, crossed):
    last = states[1][-1]
    numbers = last.embeddings.tobytes()
    whole = b"".join(crossed)
    assert len(whole) == sum(message.size for message in last.all_messages)
    assert not [word for word in TEXT.split() if len(word) > 3 and word.encode() in whole]
    assert not [i for i in range(0, len(numbers), 256) if numbers[i : i + 8] in whole]


@pytest.mark.slow
def test_a_second_text_sends_no_keys(states):
    session, _ = states
    last = list(run(session, "a dull film", "client-aided", "seal"))[-1]
    assert last.status == "answered"
    assert len(last.all_messages) == 2 * last.rounds
    assert last.key_bytes > 0
    assert last.seconds.keys == last.seconds.encoding == 0.0


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "The text is empty"), ("word " * 200, "202 tokens"), (" \n ", "The text is empty")],
)
def test_a_bad_text_is_refused_in_a_sentence(servers, text, words):
    last = list(run(Sessions(servers).of("x"), text, "client-aided", "clear"))[-1]
    assert last.status == "failed"
    assert words in last.error
    assert last.error[0].isupper()
    assert last.error.endswith(".")


def test_a_bad_text_after_a_good_one_hides_no_keys_that_crossed(states):
    session, _ = states
    last = list(run(session, "word " * 200, "client-aided", "seal"))[-1]
    assert session.key_bytes("client-aided", "seal") == last.key_bytes
    assert session.key_bytes("client-aided", "clear") == 0
    _, transport, server, _ = render(last)
    assert last.key_bytes > 0
    assert not last.all_messages
    assert "Nothing has crossed yet" not in transport
    assert "The evaluation keys did" in transport
    assert "nothing of this text" in server
    assert "your evaluation keys" in server


def test_visitors_do_not_share_keys_and_two_run_at_once(servers):
    sessions, found = Sessions(servers), {}

    def go(name: str, text: str) -> None:
        found[name] = list(run(sessions.of(name), text, "client-aided", "clear"))[-1]

    texts = {"a": "wonderful and moving", "b": "dreadful , a boring mess"}
    threads = [threading.Thread(target=go, args=item) for item in texts.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found["a"].answer.label == found["a"].clear.label == "POSITIVE"
    assert found["b"].answer.label == found["b"].clear.label == "NEGATIVE"
    assert sessions.of("a").name != sessions.of("b").name
    assert sessions.of("a").client("client-aided", "clear") is not sessions.of("b").client(
        "client-aided", "clear"
    )


def test_visitors_leave_and_the_longest_unseen_goes_first(servers):
    sessions = Sessions(servers, most=2)
    first = sessions.of("a")
    sessions.of("b")
    sessions.of("a")
    sessions.of("c")
    assert sessions.of("a") is first
    assert len(sessions) == 2
    sessions.leave("a")
    sessions.leave("nobody")
    assert sessions.of("a") is not first


def test_a_model_of_no_form_is_refused():
    with pytest.raises(InputError, match="by form"):
        Servers({"the-y": thex_hf.bundled_checkpoint("the-x")})


def test_every_value_on_the_page_is_escaped():
    bad = "<script>alert(1)</script>"
    state = ViewState(
        status="answered",
        tokens=(bad,),
        unknown=bad,
        all_messages=(WireMessage(True, bad, 1, b""),),
        answer=Prediction(bad, 0.5, np.zeros(2)),
        activity=bad,
    )
    for status in ("answered", "failed", "running"):
        for html in render(replace(state, status=status, error=bad)):
            assert "<script" not in html
    assert len(render(state)) == len(PANELS)


def test_an_engine_that_encrypts_nothing_says_so():
    state = ViewState(
        engine="clear", all_messages=(WireMessage(True, "request", 10, b"0123456789"),)
    )
    assert "encrypts nothing" in render(state)[1]
    assert "encrypts nothing" not in render(replace(state, engine="seal"))[1]


def test_pictures_are_pngs_of_what_they_show():
    assert picture_of_bytes(b"short") == ""
    assert picture_of_bytes(bytes(96)) != picture_of_bytes(bytes([255]) * 96)
    assert picture_of_numbers(np.ones((2, 3))).startswith("data:image/png;base64,")


def test_key_switches_are_counted_in_this_context_only(servers):
    plan = next(iter(servers.server("client-aided", "clear").server.plans.values()))
    backend = RecordingBackend(get_backend("clear"))
    secret, evaluation = backend.generate(key_request(plan))
    engine = backend.server(plan.parameters, evaluation, plan.rotations)
    handle = engine.load(backend.client(plan.parameters, secret).encrypt(np.ones(4096), 1))
    ticks = []
    with on_key_switch(lambda: ticks.append(1)):
        engine.rotate(handle, plan.rotations[0])
    engine.rotate(handle, plan.rotations[0])
    assert len(ticks) == 1


@pytest.fixture(scope="module")
def with_tickets(tmp_path_factory):
    """A visitor of protocol prepared on a small model, and the view states of two texts."""
    folder, tokenizer = tmp_path_factory.mktemp("small"), make_tokenizer()
    config = thex_hf.ThexBertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=128, activation="quadratic",
        softmax="power", norm="affine", num_labels=2,
    )  # fmt: skip
    thex_hf.ThexBertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    session = Sessions(Servers({"polynomial": folder})).of("one")
    assert "prepared" in session.servers.protocols
    texts = ("good film", "a film")
    return session, *(list(run(session, text, "prepared", "seal")) for text in texts)


def test_a_text_without_a_ticket_shows_how_a_batch_is_prepared(with_tickets):
    _, states, _ = with_tickets
    last = states[-1]
    assert last.status == "answered", last.error
    assert np.abs(last.answer.logits - last.clear.logits).max() < 0.01
    done = [state.preparing[0] for state in states if state.preparing[1]]
    assert done == sorted(done)
    assert len(set(done)) > 2
    at_work = next(state for state in states if state.preparing[0])
    assert (
        f"preparing a batch: {100 * at_work.preparing[0] // at_work.preparing[1]} %"
        in (render(at_work)[0])
    )
    assert "prepare 512 tickets" in at_work.activity
    assert last.preparing == (0, 0)
    assert last.batch.tickets == 512
    assert last.all_messages[0].name == PUBLIC_KEY
    assert [one.up for one in last.text_messages] == [True, False] * last.rounds


def test_the_next_text_takes_the_next_ticket_and_what_it_cost_is_shown(with_tickets):
    session, first, second = with_tickets
    last = second[-1]
    assert (first[-1].tickets, last.tickets, session.tickets) == ({16: 511}, {16: 510}, {16: 510})
    assert not any(state.preparing[1] for state in second)
    assert last.batch == first[-1].batch
    assert PUBLIC_KEY not in [one.name for one in last.all_messages]
    client, wire, server, answer = render(last)
    assert "510 left for texts of up to 16 tokens" in client
    assert "a batch of 512 tickets" in wire
    assert "ciphertexts of the masks, before the text" in server
    share = (last.batch.bytes_up + last.batch.bytes_down) // 512
    assert f"its ticket, before {last.batch.seconds / 512:.2f} s" in answer
    assert f"its ticket, before {share / 1e6:.1f} MB" in answer
    assert "evaluation keys" not in client + wire + server


def test_tickets_need_an_engine_that_has_them(with_tickets):
    last = list(run(with_tickets[0], "good film", "prepared", "clear"))[-1]
    assert last.status == "failed"
    assert "clear" in last.error
