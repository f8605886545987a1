"""A page to try: type a text and watch client, wire and server at work on ciphertexts.

    pip install '.[demo]'              # in a clone
    python examples/demo_app.py

Then open the address that it prints. ``thex-hf demo`` is the same. As a Hugging Face Space this
file is the whole app: put it there with ``examples/space`` beside it. Both sides run in one
process, to be looked at; a text takes 3 s or more on a 2-core machine, the first one about 10 s
under client-aided and 40 s under one-shot; 1.2 GB of memory, and 4.1 GB once all three circuits
were tried.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from thex_hf.demo.page import make_page


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the page; ``argv`` as on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--check", action="store_true", help="build the page and stop")
    options = parser.parse_args(argv)

    page = make_page()
    if options.check:
        print(f"protocols: {page.servers.protocols}; engines: {page.servers.engines}")
        page.blocks()
        return
    page.launch(server_name=options.host, server_port=options.port)


if __name__ == "__main__":
    main()
