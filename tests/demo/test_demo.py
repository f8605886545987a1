"""The page's own logic, on real ciphertexts; the page itself is in test_page.py."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

import thex_hf
from thex_hf.backends import get_backend
from thex_hf.demo.recording_backend import WatchedBackend, watching
from thex_hf.demo.recording_transport import Wire
from thex_hf.demo.render import PANELS, picture_of_bytes, picture_of_numbers, render
from thex_hf.demo.servers import Host
from thex_hf.demo.sessions import Guests, run
from thex_hf.demo.view_state import KEYS, Passage, Scene, Verdict
from thex_hf.errors import InputError
from thex_hf.protocol.keys import key_request

pytest.importorskip("PIL.Image", reason="the page needs thex_hf[demo]")
TEXT = "a warm and funny film"


@pytest.fixture(scope="module")
def host():
    return Host({"the-x": thex_hf.bundled_checkpoint()})


@pytest.fixture(scope="module")
def crossed():
    """Whole messages, in order."""
    return []


@pytest.fixture(scope="module")
def scenes(host, crossed):
    """Every scene of one text under real encryption, and its visitor."""
    guest = Guests(host).of("one")
    with pytest.MonkeyPatch.context() as patch:
        real = Wire._cross

        def cross(self, name, data, *, up):
            crossed.append(data)
            real(self, name, data, up=up)

        patch.setattr(Wire, "_cross", cross)
        return guest, list(run(guest, TEXT, "client-aided", "seal"))


def test_the_answer_is_the_clear_models(scenes):
    last = scenes[1][-1]
    assert last.status == "answered"
    assert last.answer.label == last.clear.label == "POSITIVE"
    assert np.abs(last.answer.logits - last.clear.logits).max() < 1e-3
    assert (last.answer.logits != last.clear.logits).any()  # it did go through encryption


def test_progress_grows_and_ends_at_the_plans_count(scenes):
    done = [scene.switched[0] for scene in scenes[1]]
    assert done == sorted(done)
    assert done[-1] == scenes[1][-1].switched[1] > 0
    assert any(0 < count < done[-1] for count in done)


def test_both_sides_were_shown_at_work(scenes):
    assert {scene.place for scene in scenes[1]} == {"client", "server"}


def test_messages_are_the_plans(scenes):
    last = scenes[1][-1]
    assert last.passages[0].name == KEYS
    assert last.passages[0].size == last.key_bytes
    assert [one.up for one in last.messages] == [True, False] * last.rounds
    assert last.messages[1].name == "layer 0 attention"
    assert last.messages[-1].name == "answer"


def test_nothing_private_crosses(scenes, crossed):
    last = scenes[1][-1]
    numbers = last.embeddings.tobytes()
    whole = b"".join(crossed)
    assert len(whole) == sum(passage.size for passage in last.passages)
    assert not [word for word in TEXT.split() if len(word) > 3 and word.encode() in whole]
    assert not [i for i in range(0, len(numbers), 256) if numbers[i : i + 8] in whole]


def test_a_second_text_sends_no_keys(scenes):
    guest, _ = scenes
    last = list(run(guest, "a dull film", "client-aided", "seal"))[-1]
    assert last.status == "answered"
    assert len(last.passages) == 2 * last.rounds
    assert last.key_bytes > 0
    assert last.seconds.keys == last.seconds.encoding == 0.0


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "The text is empty"), ("word " * 200, "202 tokens"), (" \n ", "The text is empty")],
)
def test_a_bad_text_is_told_in_a_sentence(host, text, words):
    last = list(run(Guests(host).of("x"), text, "client-aided", "clear"))[-1]
    assert last.status == "failed"
    assert words in last.error
    assert last.error[0].isupper()
    assert last.error.endswith(".")


def test_a_bad_text_after_a_good_one_hides_no_keys_that_crossed(scenes):
    guest, _ = scenes
    last = list(run(guest, "word " * 200, "client-aided", "seal"))[-1]
    assert guest.key_bytes("client-aided", "seal") == last.key_bytes
    assert guest.key_bytes("client-aided", "clear") == 0
    _, wire, server, _ = render(last)
    assert last.key_bytes > 0
    assert not last.passages
    assert "Nothing has crossed yet" not in wire
    assert "The evaluation keys did" in wire
    assert "nothing of this text" in server
    assert "your evaluation keys" in server


def test_visitors_do_not_share_keys_and_two_run_at_once(host):
    guests, found = Guests(host), {}

    def go(name: str, text: str) -> None:
        found[name] = list(run(guests.of(name), text, "client-aided", "clear"))[-1]

    texts = {"a": "wonderful and moving", "b": "dreadful , a boring mess"}
    threads = [threading.Thread(target=go, args=item) for item in texts.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found["a"].answer.label == found["a"].clear.label == "POSITIVE"
    assert found["b"].answer.label == found["b"].clear.label == "NEGATIVE"
    assert guests.of("a").name != guests.of("b").name
    assert guests.of("a").client("client-aided", "clear") is not guests.of("b").client(
        "client-aided", "clear"
    )


def test_visitors_leave_and_the_longest_unseen_goes_first(host):
    guests = Guests(host, most=2)
    first = guests.of("a")
    guests.of("b")
    guests.of("a")
    guests.of("c")
    assert guests.of("a") is first
    assert len(guests) == 2
    guests.leave("a")
    guests.leave("nobody")
    assert guests.of("a") is not first


def test_a_model_of_no_form_is_refused():
    with pytest.raises(InputError, match="by form"):
        Host({"the-y": thex_hf.bundled_checkpoint()})


def test_every_value_on_the_page_is_escaped():
    bad = "<script>alert(1)</script>"
    scene = Scene(
        status="answered",
        tokens=(bad,),
        passages=(Passage(True, bad, 1, b""),),
        answer=Verdict(bad, 0.5, np.zeros(2)),
        doing=bad,
    )
    for status in ("answered", "failed", "running"):
        for html in render(replace(scene, status=status, error=bad)):
            assert "<script" not in html
    assert len(render(scene)) == len(PANELS)


def test_an_engine_that_encrypts_nothing_says_so():
    scene = Scene(engine="clear", passages=(Passage(True, "request", 10, b"0123456789"),))
    assert "encrypts nothing" in render(scene)[1]
    assert "encrypts nothing" not in render(replace(scene, engine="seal"))[1]


def test_pictures_are_pngs_of_what_they_show():
    assert picture_of_bytes(b"short") == ""
    assert picture_of_bytes(bytes(96)) != picture_of_bytes(bytes([255]) * 96)
    assert picture_of_numbers(np.ones((2, 3))).startswith("data:image/png;base64,")


def test_watching_counts_only_this_context(host):
    plan = next(iter(host.desk("client-aided", "clear").server.plans.values()))
    backend = WatchedBackend(get_backend("clear"))
    secret, evaluation = backend.generate(key_request(plan))
    engine = backend.server(plan.parameters, evaluation, plan.rotations)
    handle = engine.load(backend.client(plan.parameters, secret).encrypt(np.ones(4096), 1))
    ticks = []
    with watching(lambda: ticks.append(1)):
        engine.rotate(handle, plan.rotations[0])
    engine.rotate(handle, plan.rotations[0])
    assert len(ticks) == 1
