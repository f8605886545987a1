"""What ``import thex_hf`` does and does not do, seen from a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUNDLED = ROOT / "thex_hf" / "checkpoints" / "thex-tiny-sst2"
NO_NETWORK = """
import socket
def refuse(*args, **kwargs):
    raise AssertionError(f"a network connection was tried: {args}")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = refuse
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that may not open a connection."""
    return subprocess.run(
        [sys.executable, "-c", NO_NETWORK + code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def seen():
    """What one interpreter saw that imported the package and opened the checkpoint."""
    code = f"""
import json, sys
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.pipelines import PIPELINE_REGISTRY, TextClassificationPipeline
theirs = set(sys.modules)  # transformers 4 loads scikit-learn itself, where it is installed
import thex_hf
roots = {{name.partition(".")[0] for name in set(sys.modules) - theirs}}
heavy = {{"tenseal", "concrete", "openfhe", "datasets", "evaluate", "sklearn"}}
light = {{
    "heavy": sorted(roots & heavy),
    "engine": sorted(n for n in sys.modules if n.startswith("thex_hf.backends.seal.backend")),
    "task": "thex-text-classification" in PIPELINE_REGISTRY.supported_tasks,
    "version": thex_hf.__version__,
}}
import thex_hf
thex_hf.register()
bundled = thex_hf.bundled_checkpoint()
model = AutoModelForSequenceClassification.from_pretrained({str(BUNDLED)!r})
ours = type(model) is thex_hf.ThexBertForSequenceClassification
print(json.dumps({{"light": light, "bundled": bundled, "ours": ours}}))
"""
    done = run(code, HF_HUB_OFFLINE="0")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_import_is_light_quiet_and_offline(seen):
    assert seen["light"] == {"heavy": [], "engine": [], "task": True, "version": "0.1.0"}


def test_importing_twice_and_registering_again_changes_nothing(seen):
    assert Path(seen["bundled"]) == BUNDLED


def test_with_our_import_the_auto_classes_open_it(seen):
    assert seen["ours"]


def test_without_our_import_the_checkpoint_is_refused():
    code = f"""
import sys
from transformers import AutoConfig, AutoModelForSequenceClassification
for auto in (AutoConfig, AutoModelForSequenceClassification):
    try:
        auto.from_pretrained({str(BUNDLED)!r})
    except Exception as error:
        assert "thex_bert" in str(error), error
    else:
        sys.exit(f"{{auto.__name__}} opened the checkpoint")
assert "thex_hf" not in sys.modules
"""
    done = run(code)
    assert done.returncode == 0, done.stderr + done.stdout
