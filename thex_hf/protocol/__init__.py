"""Client and server roles and the bytes between them.

``messages`` is the wire format, ``keys`` the key files, ``client`` holds the secret key,
``server`` works on ciphertexts only, ``local`` joins the two in one process by bytes.
"""
