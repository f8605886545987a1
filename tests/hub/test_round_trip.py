"""Push to a Hub over real HTTP and load from it again, each in a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub.server import serve
from huggingface_hub import ModelCard
from transformers import pipeline

import thex_hf  # noqa: F401  (registers the task)

ROOT = Path(__file__).parents[2]
TEXT = "A warm, funny and beautifully acted film."
REPO = "org/name"
PUSH = f"""
import thex_hf
from transformers import AutoTokenizer
folder = thex_hf.bundled_checkpoint("the-x")
model = thex_hf.ThexBertForSequenceClassification.from_pretrained(folder)
model.push_to_hub({REPO!r}, commit_message="first", tags=["tiny"])
tokenizer = AutoTokenizer.from_pretrained(folder)
tokenizer.push_to_hub({REPO!r})
model.push_to_hub("org/together", tokenizer=tokenizer, use_temp_dir=True)
"""
LOAD = f"""
import json, sys
import thex_hf
from transformers import pipeline
classify = pipeline("thex-text-classification", model={REPO!r}, fhe="simulate")
found = classify({TEXT!r})
print(json.dumps([found, classify.report.logits]))
"""
AGAIN = f"""
import os, pathlib
import thex_hf
from transformers import pipeline
classify = pipeline("thex-text-classification", model={REPO!r})
classify.push_to_hub({REPO!r}, private=True)
classify.push_to_hub({REPO!r}, revision="other", include_remote_code=True)
classify.save_pretrained("a-folder", push_to_hub=True, repo_id="org/second")
thex_hf.hub.push_folder("a-folder", "org/third")
pathlib.Path("a-folder/notes.txt").write_bytes(b"\\x88\\xa6format\\xacthex_hf.keys")
for push in (
    lambda: thex_hf.hub.push_folder("a-folder", "org/fourth"),
    lambda: classify.save_pretrained("a-folder", push_to_hub=True, repo_id="org/fourth"),
    lambda: classify.model.save_pretrained("a-folder", push_to_hub=True, repo_id="org/fourth"),
):
    try:
        push()
    except thex_hf.errors.KeyStoreError as error:
        print("refused:", "notes.txt" in str(error))
"""
REFUSED = """
import thex_hf
from transformers import pipeline
folder = thex_hf.bundled_checkpoint("the-x")
for attempt in (
    lambda: pipeline("thex-text-classification", model="org/no-such-model"),
    lambda: thex_hf.hub.push_folder(folder, "org/unasked"),
):
    try:
        attempt()
    except Exception as error:
        print(type(error).__name__, str(error).splitlines()[0])
"""


@pytest.fixture(scope="module")
def hub():
    with serve() as served:
        yield served


def run(code, url, home, **environment):
    """Run code in a new interpreter whose Hub is at ``url``; what it printed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    own = {"HF_ENDPOINT": url, "HF_HOME": str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=home,
        env={**kept, **quiet, **own, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def pushed(hub, tmp_path_factory):
    """The Hub after model and tokenizer were pushed."""
    url, served = hub
    done = run(PUSH, url, tmp_path_factory.mktemp("home"), HF_TOKEN="hf_secret")
    assert done.returncode == 0, done.stderr
    return url, served


@pytest.mark.slow
def test_the_repository_holds_model_tokenizer_records_and_our_card(pushed):
    _, served = pushed
    files = served.files(REPO)
    assert {"config.json", "model.safetensors", "conversion.json", "README.md"} <= set(files)
    assert "tokenizer.json" in files
    assert "thex_remote.py" not in files
    assert served.messages[:2] == ["first", "Upload tokenizer"]
    card = files["README.md"].decode()
    data = ModelCard(card).data
    assert (data.library_name, data.license) == ("thex_hf", "apache-2.0")
    assert f'model="{REPO}"' in card
    assert "82.91" in card
    assert set(served.files("org/together")) == set(files)
    assert len(served.repos["org/together"]["main"]) == 2  # an empty first commit, and ours


@pytest.mark.slow
def test_a_fresh_machine_gets_the_same_answers_from_the_hub_and_then_offline(pushed, tmp_path):
    url, served = pushed
    served.requests.clear()
    online = run(LOAD, url, tmp_path)
    assert online.returncode == 0, online.stderr
    assert any(path.endswith("model.safetensors") for _, path in served.requests)
    served.requests.clear()
    offline = run(LOAD, url, tmp_path, HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    assert not served.requests
    local = pipeline("thex-text-classification", protocol="client-aided", fhe="simulate")
    (expected,) = local(TEXT)
    for done in (online, offline):
        (found,), logits = json.loads(done.stdout.splitlines()[-1])
        assert found["label"] == expected["label"]
        assert found["score"] == pytest.approx(expected["score"], abs=1e-4)
        assert logits == pytest.approx(local.report.logits, abs=1e-4)


@pytest.mark.slow
def test_pushing_again_keeps_what_was_written_on_the_hub_and_keys_stay_home(pushed, tmp_path):
    url, served = pushed
    card = served.files(REPO)["README.md"].decode()
    edited = card.replace("license: apache-2.0", "license: mit") + "\nwritten on the Hub\n"
    served.commit(REPO, "main", "edit", {"README.md": edited.encode()})
    done = run(AGAIN, url, tmp_path, HF_TOKEN="hf_secret")
    assert done.returncode == 0, done.stderr
    kept = served.files(REPO)["README.md"].decode()
    assert kept == edited  # same model, same generated part
    assert "thex_remote.py" in served.files(REPO, "other")
    assert "thex_remote.py" not in served.files(REPO)
    assert set(served.files("org/third")) == set(served.files("org/second"))
    assert "tokenizer.json" in served.files("org/second")
    assert done.stdout.splitlines()[-3:] == ["refused: True"] * 3
    assert "org/fourth" not in served.repos


@pytest.mark.slow
def test_a_model_that_is_not_there_and_a_push_without_token_are_clear_errors(hub, tmp_path):
    url, served = hub
    done = run(REFUSED, url, tmp_path)
    missing, refused = done.stdout.splitlines()[-2:]
    assert missing.startswith("OSError org/no-such-model is not a local folder"), done.stderr
    assert "401" in refused
    assert "org/unasked" not in served.repos
