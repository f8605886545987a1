"""A first day with the package, from nothing to a served model: steps, seconds, and what to know.

    sudo python benchmarks/first_day.py

Clones the repository, makes a new environment by the README's first line, and types what a user
would: fine-tunes a classifier of bank messages with transformers' Trainer, converts it, scores
and prepares it, has 1,000 rows of a file classified under encryption, and serves it to a client in
another network namespace. Stops at the first command that fails.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import surroundings, write
from two_machines import ADDRESSES, CLIENT, SERVER, cable, certificate

ROOT = Path(__file__).parents[1]
ROWS, HELD_OUT, REMOTE = 1000, 5, 50


@dataclass
class Step:
    """What a user wants, types, and had to find out."""

    wanted: str
    typed: str
    thought: str
    seconds: float = 0.0
    said: str = ""


def run(step: Step, place: Path, prefix: tuple[str, ...] = ()) -> Step:
    """Type it in a shell; the end of what it says is kept."""
    print(f"{step.wanted}: $ {step.typed}", flush=True)
    begin = time.perf_counter()
    done = subprocess.run(
        [*prefix, "bash", "-euo", "pipefail", "-c", step.typed],
        cwd=place, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{place}/thex_hf/.venv/bin:{os.environ['PATH']}",
             "PIP_QUIET": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    )  # fmt: skip
    step.seconds = round(time.perf_counter() - begin, 1)
    step.said = "\n".join(done.stdout.strip().splitlines()[-8:])
    print(f"{step.seconds} s\n{step.said}", flush=True)
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    return step


def split(place: Path) -> None:
    """The user's files: messages to train with, some held out, and a day's post of 1,000 rows."""
    source = place / "thex_hf/examples/data/bank_intents.tsv"
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    held = [row for number, row in enumerate(rows) if number % HELD_OUT == 0]
    kept = [row for number, row in enumerate(rows) if number % HELD_OUT]
    post = [{"id": number, "text": rows[number % len(rows)]["text"]} for number in range(ROWS)]
    for name, part in (
        ("train", kept), ("dev", held), ("post", post), ("some", post[:REMOTE])
    ):  # fmt: skip
        with (place / f"{name}.tsv").open("w", encoding="utf-8") as file:
            print(*part[0], sep="\t", file=file)
            for row in part:
                print(*row.values(), sep="\t", file=file)


def steps(place: Path) -> list[Step]:
    """Everything on one machine."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (first,) = re.findall(r"```bash\n(.*)\n```", readme)[:1]
    shutil.copy(Path(__file__).with_name("first_day_train.py"), place / "train.py")
    model = "my-private-bert --keys my-keys"
    return [
        Step("the package, and a first answer", f"cd thex_hf && {first}", "nothing"),
        Step("my own classifier", "thex_hf/.venv/bin/pip install -q -c thex_hf/constraints.txt "
             "'./thex_hf[datasets,evaluate,serve,client]' && cp -r thex_hf/examples/base_encoder "
             "encoder && python train.py", "that data sets, scores and serving are extras"),
        Step("what will it cost", "thex-hf estimate my-bert --tokens 32", "how long my texts are"),
        Step("convert it", "thex-hf convert my-bert my-private-bert --form polynomial "
             "--train train.tsv --dev dev.tsv --effort 0.5", "the form: two layers, so polynomial"),
        Step("is it still right", "thex-hf evaluate my-private-bert --data dev.tsv --fhe simulate",
             "that simulate is the same arithmetic without encryption"),
        Step(f"tickets for {ROWS} texts", f"thex-hf prepare {model} --tickets {ROWS} --tokens 32",
             "tickets: prepared before the texts, in whole batches"),
        Step(f"classify {ROWS} rows", f"thex-hf classify --model {model} --protocol prepared "
             "--file post.tsv --output answers.jsonl && wc -l answers.jsonl",
             "nothing"),
        Step("what the clients get", "thex-hf client-half my-private-bert my-half",
             "that clients have tokenizer and embeddings only"),
    ]  # fmt: skip


def remote(place: Path) -> list[Step]:
    """A server in one namespace, a client in the other."""
    options = " ".join(str(option).removeprefix(f"{place}/") for option in certificate(place))
    address = ADDRESSES[SERVER]
    serve = Step(
        "a server",
        f"thex-hf serve my-private-bert --host {address} --port 8443 --protocol refresh "
        f"--bucket 32 --bucket 16 --keys served {options}",
        "a token file and a certificate, since the server listens beyond its machine",
    )
    print(f"{serve.wanted}: $ {serve.typed}", flush=True)
    said, begin = place / "serve.log", time.perf_counter()
    with said.open("w") as log:
        server = subprocess.Popen(
            ["ip", "netns", "exec", SERVER, "bash", "-c", f"exec thex_hf/.venv/bin/{serve.typed}"],
            cwd=place, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        while "8443" not in said.read_text():
            if server.poll() is not None:
                raise SystemExit(said.read_text())
            time.sleep(0.2)
        serve.seconds = round(time.perf_counter() - begin, 1)  # until it answers
        serve.said = said.read_text().strip()
        typed = (
            f"THEX_HF_TOKEN=a-token-that-is-long-enough thex-hf classify --backend remote "
            f"--url https://{address}:8443 --verify cert.pem --model my-half --keys far-keys "
            f"--file some.tsv --output far.jsonl && wc -l far.jsonl"
        )
        thought = "the token and the certificate that the server's owner hands out"
        step = Step(f"a client elsewhere, {REMOTE} rows", typed, thought)
        return [serve, run(step, place, ("ip", "netns", "exec", CLIENT))]
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Run the day, write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="a new folder to work in; temporary if none")
    chosen = parser.parse_args()
    record: dict[str, Any] = {"surroundings": surroundings()}
    with tempfile.TemporaryDirectory() as scratch:
        place = chosen.keep or Path(scratch)
        place.mkdir(exist_ok=True)
        clone = Step("the source", f"git clone -q {ROOT} thex_hf", "nothing")
        done = [run(clone, place)]
        split(place)
        done += [run(step, place) for step in steps(place)]
        with cable():
            done += remote(place)
        record["same_answers"] = agreeing(place)
    for step in done:
        step.typed = step.typed.replace(str(ROOT), "URL")
    record["steps"] = [asdict(step) for step in done]
    table = [["what", "typed", "seconds", "to find out"]]
    table += [[s.wanted, f"`{s.typed}`", f"{s.seconds:.0f}", s.thought] for s in done]
    write("first_day", record, table)


def agreeing(place: Path) -> str:
    """How many of the rows that were classified twice got the same label under both protocols."""
    near, far = (
        [json.loads(line)["label"] for line in (place / name).read_text().splitlines()[:REMOTE]]
        for name in ("answers.jsonl", "far.jsonl")
    )
    return f"{sum(a == b for a, b in zip(near, far, strict=True))} of {REMOTE}"


if __name__ == "__main__":
    main()
