"""A text classified by a client without torch, and by a server of another environment.

``python thin_client.py SERVER CLIENT``, two virtual environments. Real ciphertexts over HTTP.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

server, client = (Path(one) / "bin" for one in sys.argv[1:3])


def said(*command: object) -> str:
    """What a command prints."""
    return subprocess.run(
        [str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


with tempfile.TemporaryDirectory() as folder:
    half = Path(folder) / "half"
    find = "import thex_hf; print(thex_hf.bundled_checkpoint())"
    said(server / "thex-hf", "client-half", said(server / "python", "-c", find).strip(), half)
    serve = [server / "thex-hf", "serve", "--port", "0", "--bucket", "16", "--workers", "1"]
    serve += ["--protocol", "refresh", "--keys", Path(folder) / "keys", "--json"]
    with subprocess.Popen(
        serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder
    ) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            there = ["--backend", "remote", "--url", url, "--model", half, "--json"]
            answer = json.loads(said(client / "thex-hf", "classify", *there, "A warm, funny film."))
        finally:
            process.terminate()
    without = "from importlib.util import find_spec; print(find_spec('torch'))"
    assert said(client / "python", "-c", without).strip() == "None"
    assert (answer["label"], answer["protocol"]) == ("POSITIVE", "refresh"), answer
    version = said(client / "python", "--version").strip()
    sys.stdout.write(f"{version}: {answer['label']} {answer['score']:.4f}\n")
