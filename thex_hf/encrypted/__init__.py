"""The THE-X encoder on ciphertexts, and the schedule of visits to the client.

``shape`` fixes sizes and layouts (both sides know it), ``schedule`` lists the visits,
``folding`` prepares the weights, ``encoder`` is the server's circuit, ``answers`` is what
the client does at each visit, ``planner`` runs the circuit on the counting engine.
"""
