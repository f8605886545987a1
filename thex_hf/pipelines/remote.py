"""Backend ``remote``: the server half is another machine's affair."""

from __future__ import annotations

from thex_hf.client.exchange import Client
from thex_hf.client.http import open_transport
from thex_hf.client.plans import ModelFacts, ServerPlans
from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier
from thex_hf.options import RunOptions


def remote_client(options: RunOptions, model: ThexBertClassifier) -> Client:
    """The client of a server elsewhere.

    Args:
        options: where it is, the protocol that it should serve, where keys are kept.
        model: the whole model, which should be the server's.

    Raises:
        ConnectionLost: no server there.
        PlanMismatch: it serves another model.
        OptionError: it serves another protocol.
    """
    verify = True if options.verify is None else options.verify
    transport = open_transport(str(options.url), options.server_token, verify=verify)
    client = Client(transport, options.key_folder, wanted=options.protocol)
    check_model(client, model)
    return client


def check_model(client: Client, model: ThexBertClassifier) -> None:
    """Refuse another model than the server's. Raises PlanMismatch, ConversionError."""
    assert isinstance(client.plans, ServerPlans)
    client.plans.check(ModelFacts.of(model.encoder_weights()))
