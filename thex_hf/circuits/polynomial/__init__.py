"""What both circuits of the polynomial form share: for one text, and for many in a request.

``folding`` turns weights into as few plaintext maps as there can be, ``powers`` raises real and
imaginary parts to a power apart, ``refresh_schedule`` says after which stages the client refreshes
the state, ``planning`` chooses that and the parameters.
"""
