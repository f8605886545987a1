"""A page to try: client, wire and server side by side, on real ciphertexts."""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when Gradio is imported
