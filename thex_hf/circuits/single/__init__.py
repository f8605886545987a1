"""The polynomial encoder on ciphertexts for one text.

``attention``, ``layers`` and ``token_head`` are the server's circuit, ``refresh_schedule`` says
where the stream goes to the client to be refreshed (``refresh``) or nowhere (``one-shot``), and
``planner`` chooses that and the parameters.

Two real values share one complex slot wherever that halves the work: the heads of a pair,
and the two halves of the feed-forward part.
"""
