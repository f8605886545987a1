"""Write the golden logits of the bundled checkpoint: ``python tests/golden/make.py``.

Run it when the checkpoint is trained anew, and only then.
"""

import json
from pathlib import Path

from transformers import pipeline

import thex_hf  # noqa: F401  (registers the task)

TEXTS = (
    "it 's a charming and often affecting journey .",
    "unflinchingly bleak and desperate",
    "The acting was superb while the plot, sadly, never went anywhere: two long hours in all.",
)

if __name__ == "__main__":
    classifier = pipeline("thex-text-classification", protocol="client-aided", device=-1)
    rows = []
    for text in TEXTS:
        classifier(text, fhe="disable")
        rows.append({"text": text, "logits": classifier.report.logits})
    target = Path(__file__).with_name("thex_tiny_sst2.json")
    target.write_text(json.dumps(rows, indent=1) + "\n")
