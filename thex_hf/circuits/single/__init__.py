"""The polynomial encoder on ciphertexts for one text.

``circuit`` is the server's: its steps are ``attention`` and ``cls_attention`` (whose sums are in
``attention_products``), ``feed_forward``, ``cls_query`` and the heads ``cls_head`` and
``token_head``. ``refresh_schedule`` says where the stream goes to the client to be refreshed
(``refresh``) or nowhere (``one-shot``), and ``planner`` chooses that and the parameters.

Two real values share one complex slot wherever that halves the work: the heads of a pair,
and the two halves of the feed-forward part.
"""
