import contextlib

import msgpack
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from thex_hf.errors import KeyMismatch, PlanMismatch, WireError
from thex_hf.protocol.messages import Message

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
        (changed(t="shout"), "unknown message type"),
        (changed(plan="zz"), "'plan' must be 32 hex digits"),
        (changed(key=3), "'key' must be 32 hex digits"),
        (changed(step=-1), "'step'"),
        (changed(step=True), "'step'"),
        (changed(parts=b"x"), "'parts'"),
        (changed(parts=[["text"]]), "'parts'"),
    ],
)
def test_malformed_bytes_are_refused(data, reason):
    with pytest.raises(WireError, match=reason):
        Message.from_bytes(data)
    with pytest.raises(WireError, match="expected bytes"):
        Message.from_bytes("text")


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
    for data in (turned, wide, bytes(double)):
        assert data != GOOD.to_bytes()
        assert msgpack.unpackb(data) == fields
        with pytest.raises(WireError, match="canonical encoding"):
            Message.from_bytes(data)
