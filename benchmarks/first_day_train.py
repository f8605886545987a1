"""What the user of :mod:`first_day` types to fine-tune a classifier with transformers."""

from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
)

data = Dataset.from_csv("train.tsv", sep="\t").class_encode_column("label")
names = data.features["label"].names
tokenizer = AutoTokenizer.from_pretrained("encoder", trust_remote_code=False)
model = AutoModelForSequenceClassification.from_pretrained(
    "encoder",
    num_labels=len(names),
    id2label=dict(enumerate(names)),
    label2id={name: number for number, name in enumerate(names)},
    trust_remote_code=False,
)
data = data.map(lambda rows: tokenizer(rows["text"], truncation=True), batched=True)
arguments = TrainingArguments(
    "runs",
    num_train_epochs=40,
    learning_rate=3e-4,
    per_device_train_batch_size=16,
    report_to="none",
    disable_tqdm=True,
    save_strategy="no",
)
Trainer(model, arguments, train_dataset=data, processing_class=tokenizer).train()
model.save_pretrained("my-bert")
tokenizer.save_pretrained("my-bert")
