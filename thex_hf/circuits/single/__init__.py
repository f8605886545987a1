"""The polynomial encoder on ciphertexts for one text.

``circuit`` is the server's: its steps are ``layer`` and ``last_layer``. ``planner`` chooses where
the stream goes to the client to be refreshed (``refresh``) or nowhere (``one-shot``), and the
parameters.

Two real values share one complex slot wherever that halves the work: the heads of a pair,
and the two halves of the feed-forward part.
"""
