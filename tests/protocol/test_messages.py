import contextlib
import tracemalloc

import msgpack
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from thex_hf.errors import KeyMismatch, PlanMismatch, WireError
from thex_hf.protocol.messages import TYPES, Message

PLAN, KEY, RUN = "a" * 32, "b" * 32, "c" * 32
GOOD = Message("request", PLAN, KEY, RUN, 0, [[b"one", b"two"], [b"three"]])


def test_round_trip():
    assert Message.from_bytes(GOOD.to_bytes()) == GOOD


def test_golden_bytes():
    assert Message("answer", PLAN, KEY, RUN, 2, [[b"x"]]).to_bytes().hex() == (
        "87a17601a174a6616e73776572a4706c616ed920" + "61" * 32 + "a36b6579d920" + "62" * 32
        + "a372756ed920" + "63" * 32 + "a47374657002a570617274739191c40178"
    )  # fmt: skip


def changed(**fields):
    raw = msgpack.unpackb(GOOD.to_bytes())
    return msgpack.packb({**raw, **fields})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a message"),
        (GOOD.to_bytes()[:-1], "not a message"),
        (GOOD.to_bytes() + b"\x00", "not a message"),
        (msgpack.packb([1, 2]), "must be a map"),
        (msgpack.packb({"v": 1}), "7 fields"),
        (changed(v=2), "format 2"),
        (changed(t="shout"), r"'t' must be one of \('request', 'visit', 'reply', 'answer'\)"),
        (changed(plan="zz"), "'plan' must be 32 hex digits"),
        (changed(key=3), "'key' must be 32 hex digits"),
        (changed(step=-1), "'step'"),
        (changed(step=True), "'step'"),
        (changed(parts=b"x"), "'parts'"),
        (changed(parts=[["text"]]), "'parts'"),
        (changed(parts=None), "'parts'"),
        (changed(v=True), "'v' must be 1"),
        (changed(v=1.0), "'v' must be 1"),
        (changed(t="visit\n"), "'t' must be one of"),
        (changed(plan=PLAN + "\n"), "'plan' must be 32 hex digits"),
        (changed(step=0.0), "'step'"),
        (changed(step=float("nan")), "'step'"),
        (changed(step=msgpack.Timestamp(1)), "'step'"),
        (changed(more=1), "7 fields"),
        (msgpack.packb({1: 1}), "7 fields"),
        (GOOD.to_bytes().replace(b"request", b"requ\xff\xfet"), "not a message"),
        (GOOD.to_bytes().replace(PLAN.encode(), b"\xff" * 32), "not a message"),
    ],
)
def test_malformed_bytes_are_refused(data, reason):
    with pytest.raises(WireError, match=reason):
        Message.from_bytes(data)
    with pytest.raises(WireError, match="expected bytes"):
        Message.from_bytes("text")


HEAD = GOOD.to_bytes().partition(b"\xa5parts")[0] + b"\xa5parts"
HUGE = {
    "a list": b"\xdd\xff\xff\xff\xff",
    "a list that the limit lets through": b"\xdd\x00\x01\x00\x00",
    "lists in a list": b"\xdc\xff\xff" + b"\xdc\xff\xff",
    "bytes": b"\x91\x91\xc6\xff\xff\xff\xff",
    "a text": b"\x91\x91\xdb\xff\xff\xff\xff",
    "a map": b"\x91\xdf\xff\xff\xff\xff",
    "an extension": b"\x91\x91\xc9\xff\xff\xff\xff\x01",
    "a deep list": b"\x91" * 1_000_000,
    "a deep map": b"\x81\xa1a" * 300_000,
}


@pytest.mark.parametrize("name", HUGE)
def test_what_a_length_promises_takes_no_memory(name):
    for data in (HEAD + HUGE[name], HUGE[name], HUGE[name].lstrip(b"\x91")):
        tracemalloc.start()
        with pytest.raises(WireError):
            Message.from_bytes(data)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 20_000


def test_long_names_of_fields_are_told_short_and_escaped():
    with pytest.raises(WireError) as caught:
        Message.from_bytes(changed(**{"\x1b[2J" * 10_000: 1}))
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
    assert caught.value.__suppress_context__


def test_longer_lists_than_the_format_has_are_refused():
    for parts in ([[]] * 65537, [[b""] * 65537]):
        with pytest.raises(WireError, match="'parts'"):
            Message.from_bytes(changed(parts=parts))


@given(
    st.sampled_from(TYPES),
    st.integers(0, 2**64 - 1),
    st.lists(st.lists(st.binary(max_size=40), max_size=20), max_size=20),
    st.sampled_from((0, 255, 256, 65535, 65536)),
)
def test_the_encoding_is_that_of_msgpack_in_its_shortest_form(kind, step, parts, size):
    parts = [*parts, [bytes(size)]]
    data = Message(kind, PLAN, KEY, RUN, step, parts).to_bytes()
    fields = {"v": 1, "t": kind, "plan": PLAN, "key": KEY, "run": RUN, "step": step}
    assert data == msgpack.packb({**fields, "parts": parts})
    assert Message.from_bytes(data).parts == parts


def test_a_message_that_is_decoded_is_taken_as_it_is():
    assert Message.of(GOOD) is GOOD
    assert Message.of(GOOD.to_bytes()) == GOOD
    with pytest.raises(WireError, match="expected bytes"):
        Message.of("text")


@settings(max_examples=examples(300))
@given(data=st.binary(max_size=300), cut=st.integers(0, 150), flip=st.integers(0, 255))
def test_any_bytes_give_a_message_or_our_error(data, cut, flip):
    raw = bytearray(GOOD.to_bytes())
    raw[cut % len(raw)] ^= flip
    for candidate in (data, bytes(raw)):
        with contextlib.suppress(WireError):
            assert isinstance(Message.from_bytes(candidate), Message)


def test_foreign_messages_are_told_apart():
    GOOD.require("request", PLAN, KEY)
    with pytest.raises(WireError, match="expected a reply"):
        GOOD.require("reply", PLAN, KEY)
    with pytest.raises(PlanMismatch, match="same model"):
        GOOD.require("request", KEY, KEY)
    with pytest.raises(KeyMismatch, match="evaluation keys"):
        GOOD.require("request", PLAN, PLAN)
    with pytest.raises(WireError, match=r"expected \[1, 1\] ciphertexts"):
        GOOD.require_counts([1, 1])


def test_a_message_has_one_encoding_only():
    """No second meaning in padded numbers, doubled fields or another order."""
    fields = msgpack.unpackb(GOOD.to_bytes())
    turned = msgpack.packb(dict(reversed(fields.items())))
    one = msgpack.packb("step") + msgpack.packb(fields["step"])
    wide = GOOD.to_bytes().replace(one, msgpack.packb("step") + b"\xcd\x00\x00")
    double = bytearray(GOOD.to_bytes().replace(one, one + one))
    double[0] += 1
    unversioned = msgpack.packb({name: fields[name] for name in list(fields)[1:]})
    with pytest.raises(WireError, match="canonical encoding"):
        Message.from_bytes(unversioned)
    for data in (turned, wide, bytes(double)):
        assert data != GOOD.to_bytes()
        assert msgpack.unpackb(data) == fields
        with pytest.raises(WireError, match="canonical encoding"):
            Message.from_bytes(data)
