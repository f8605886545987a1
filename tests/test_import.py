"""What ``import thex_hf`` does and does not do, seen from a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUNDLED = Path(str(files("thex_hf"))) / "checkpoints" / "thex-tiny-sst2"
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
bundled = thex_hf.bundled_checkpoint("the-x")
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


AS_COMMAND = """
import sys
sys.argv[0] = "/somewhere/bin/thex-hf"
"""


def test_the_command_loads_no_library_with_the_package():
    code = """
import thex_hf
roots = {name.partition(".")[0] for name in sys.modules}
assert not roots & {"torch", "transformers", "numpy", "tenseal", "huggingface_hub"}, roots
assert set(thex_hf.__all__) <= set(dir(thex_hf))
assert thex_hf.errors.ThexError is thex_hf.ThexError
assert thex_hf.client.__name__ == "thex_hf.client"
try:
    thex_hf.nothing
except AttributeError as error:
    assert str(error) == "module 'thex_hf' has no attribute 'nothing'"
else:
    sys.exit("there is a thex_hf.nothing")
"""
    done = run(AS_COMMAND + code)
    assert done.returncode == 0, done.stderr


REGISTERED = """
import thex_hf
from transformers import AutoConfig, AutoModelForSequenceClassification, pipeline
folder = thex_hf.bundled_checkpoint("the-x")
assert type(AutoConfig.from_pretrained(folder)) is thex_hf.ThexBertConfig
model = AutoModelForSequenceClassification.from_pretrained(folder)
assert type(model) is thex_hf.ThexBertForSequenceClassification
made = pipeline("thex-text-classification")
assert type(made) is thex_hf.ThexTextClassificationPipeline
assert made("A warm, funny film.", fhe="disable")[0]["label"] == "POSITIVE"
assert thex_hf.modeling.encoder._known
"""


@pytest.mark.parametrize(
    "first",
    [
        pytest.param("import transformers, thex_hf", marks=pytest.mark.slow),
        pytest.param("import thex_hf.modeling.opening", marks=pytest.mark.slow),
        AS_COMMAND + "import thex_hf",
        pytest.param(AS_COMMAND + "from thex_hf import *", marks=pytest.mark.slow),
        pytest.param(AS_COMMAND + "import thex_hf.modeling.opening", marks=pytest.mark.slow),
        AS_COMMAND + "from thex_hf.pipelines.runner import Runner",
        pytest.param(
            AS_COMMAND + "from thex_hf.conversion.data.reading import read_texts",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_whatever_comes_first_is_registered(first):
    done = run(first + REGISTERED)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_threads_that_import_at_once():
    code = """
import sys, threading
import thex_hf
lines = [
    "from transformers import pipeline",
    "from thex_hf.modeling.opening import open_model",
    "thex_hf.ThexBertConfig",
    "from thex_hf.pipelines.text_classification import ThexTextClassificationPipeline",
]
start, wrong = threading.Barrier(len(lines)), []
def work(line):
    start.wait()
    try:
        exec(line, {"thex_hf": thex_hf})
    except BaseException as error:
        wrong.append((line, error))
threads = [threading.Thread(target=work, args=(line,)) for line in lines]
[thread.start() for thread in threads], [thread.join() for thread in threads]
assert not wrong, wrong
"""
    done = run(code + REGISTERED)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_spawned_child_that_is_sent_a_configuration_has_the_tasks(tmp_path):
    code = """
import multiprocessing
def tasks(config):
    from transformers.pipelines import PIPELINE_REGISTRY
    return type(config).__name__, "thex-text-classification" in PIPELINE_REGISTRY.supported_tasks
"""
    main = """
if __name__ == "__main__":
    import thex_hf
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(tasks, [thex_hf.ThexBertConfig()]))
"""
    program = tmp_path / "program.py"
    program.write_text(code + main, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.strip() == "('ThexBertConfig', True)", done.stderr


def test_without_torch_nothing_is_registered_and_names_say_why():
    code = """
import sys
import thex_hf
assert "register" not in dir(thex_hf)
import transformers
assert not any(name.startswith("thex_hf.pipelines") for name in sys.modules)
try:
    thex_hf.ThexBertConfig
except ImportError as error:
    assert str(error).startswith("thex_hf.ThexBertConfig needs torch and transformers"), error
else:
    sys.exit("there is a configuration")
"""
    done = run(code, THEX_HF_NO_TORCH="1")
    assert done.returncode == 0, done.stderr


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
