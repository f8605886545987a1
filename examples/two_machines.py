r"""A service on one machine and its client on another, both played by this one.

Starts ``thex-hf serve`` as a process of its own, on a free port and with a token, classifies texts
from here with ``backend="remote"``, says what crossed, and stops the service. Ciphertexts are real.

About 40 s in all and 1 GB of memory for each of the two processes on a 2-core machine. Needs
``pip install '.[serve,client]'`` in a clone. On two real machines it is, see ``docs/serving.md``::

    server$ echo "ann $(openssl rand -hex 16)" > tokens && chmod 600 tokens
    server$ thex-hf serve my-thex-bert --host 0.0.0.0 --port 8000 --tokens tokens \
                --certificate cert.pem --private-key key.pem --keys served-keys
    client$ THEX_HF_TOKEN=... thex-hf classify --model my-thex-bert --backend remote \
                --url https://server:8000 "some text"
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from transformers import pipeline

import thex_hf

TEXTS = ("a warm , funny and beautifully acted film", "a dull and lifeless two hours")


def write_token(path: Path, owner: str) -> str:
    """Write a token file, readable by its owner alone, and return the token."""
    token = secrets.token_urlsafe(24)
    path.touch(mode=0o600)
    path.write_text(f"{owner} {token}\n")
    return token


@contextmanager
def service(folder: Path, tokens: Path) -> Iterator[str]:
    """``thex-hf serve`` in a process of its own; gives its address, and stops it in the end."""
    command = [sys.executable, "-m", "thex_hf.cli.main", "serve", "--port", "0", "--json"]
    command += ["--bucket", "16", "--workers", "1"]
    command += ["--keys", str(folder / "keys"), "--tokens", str(tokens)]
    with open(folder / "log", "w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"the service did not start:\n{(folder / 'log').read_text()}")
            yield json.loads(line)["url"]
        finally:
            process.terminate()
            process.wait(60)
            process.stdout.close()


def show_log(log: Path) -> None:
    """What the service wrote down of each request: route, sizes and owner, never a payload."""
    for line in log.read_text().splitlines():
        record = json.loads(line)
        if record["event"] == "request":
            print(f"  {record}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example; ``argv`` as on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="*", default=list(TEXTS))
    options = parser.parse_args(argv)

    with tempfile.TemporaryDirectory() as server, tempfile.TemporaryDirectory() as client:
        token = write_token(Path(server) / "tokens", "ann")
        with service(Path(server), Path(server) / "tokens") as url:
            print(f"service at {url}")
            classify = pipeline(
                "thex-text-classification",
                model=thex_hf.bundled_checkpoint(),
                backend="remote",
                url=url,
                server_token=token,
                keys=Path(client) / "keys",
            )
            for text in options.texts:
                result, report = classify(text)[0], classify.report
                print(f"{result['label']}  {text}")
                print(
                    f"  {report.rounds} rounds, {report.bytes.up / 1e6:.1f} MB up, "
                    f"{report.bytes.down / 1e6:.1f} MB down, keys {report.bytes.keys / 1e6:.1f} MB "
                    f"sent once"
                )
        keys = Path(client) / "keys"
        held = [str(path.relative_to(keys)) for path in sorted(keys.rglob("*.key"))]
        print(f"client keeps: {held}")
        print("the service's log:")
        show_log(Path(server) / "log")


if __name__ == "__main__":
    main()
