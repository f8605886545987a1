"""What a card says of an engine without slots."""

from thex_hf.modeling.cards.checklist import checklist
from thex_hf.modeling.cards.facts import cost_rows, facts
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.reports.card import backend_words

COST = {
    "protocol": "client-aided", "tokens": 8, "ring_degree": 0, "modulus_bits": 0,
    "modulus_limit": 0, "levels": 0, "rounds": 9, "key_switches": 0, "key_bytes": 576,
    "up_bytes": 300_000, "down_bytes": 141_000_000, "server_seconds": 5.6,
}  # fmt: skip


def test_a_card_of_concrete_speaks_of_tfhe_and_of_no_ring():
    measured = {"backend": backend_words("concrete"), "costs": [COST]}
    config = ThexBertConfig()
    said = dict(checklist(config, None, measured, ["client-aided"]))
    assert said["scheme"].startswith("TFHE")
    assert said["library and version"].startswith("Concrete 2.")
    assert "Concrete" in said["ring degree and modulus"]
    assert "9 rounds" in said["interactivity"]
    (row,) = cost_rows(measured, ["client-aided"])
    assert row[2:4] == ["none", "none"]
    learns = facts(config, None, measured, "m")["learns"]
    assert "every linear map" in learns[0][2]


def test_a_card_of_seal_is_as_before():
    measured = {"backend": backend_words("seal")}
    config = ThexBertConfig()
    assert dict(checklist(config, None, measured, ["refresh"]))["scheme"].startswith("CKKS")
    assert "attention scores" in facts(config, None, measured, "m")["learns"][0][2]
