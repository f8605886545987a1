import torch
from transformers import AutoTokenizer, BertForSequenceClassification

from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.data.reading import read_texts
from thex_hf.conversion.options import FitOptions, LossOptions
from thex_hf.conversion.replacements import clamp_scales, copy_model, fit_least_squares
from thex_hf.conversion.sources import start_model
from thex_hf.conversion.training.batches import collate, encode, shuffled
from thex_hf.conversion.training.losses import norm_loss, run
from thex_hf.conversion.training.stages import TrainingStage, distil_norms


def prepare(bert_folder, data_files):
    model = start_model(BertForSequenceClassification.from_pretrained(bert_folder))
    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    return model, encode(tokenizer, read_texts(data_files[0]), 32)


def stage(data, fitting):
    return TrainingStage(data, fitting, LossOptions(), "affine norms", Checkpoint())


@torch.no_grad()
def error(exact, student, data):
    batch = collate(data, torch.arange(len(data)))
    return float(norm_loss(student, run(student, batch)[0], run(exact, batch)[0], batch))


def test_least_squares_beats_the_copied_norms_and_training_beats_it(bert_folder, data_files):
    model, data = prepare(bert_folder, data_files)
    student = copy_model(model, norm="affine")
    before = error(model, student, data)
    fit_least_squares(model, student, data, 400)
    fitted = error(model, student, data)
    fitting = FitOptions(epochs=8.0, learning_rate=3e-3, weight_decay=0.0)
    distil_norms(student, model, stage(data, fitting))
    assert before > 1.5 * fitted
    assert error(model, student, data) < fitted


def test_distillation_changes_nothing_but_norms(bert_folder, data_files):
    model, data = prepare(bert_folder, data_files)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    student = copy_model(model, norm="affine")
    distil_norms(student, model, stage(data, FitOptions(epochs=1.0)))
    for name, tensor in student.state_dict().items():
        assert torch.equal(before[name], model.state_dict()[name])
        if "layers." not in name or "_norm." not in name:
            assert torch.equal(tensor, before[name]), name


def test_scales_are_kept_from_zero_with_their_sign(bert_folder, data_files):
    model, _ = prepare(bert_folder, data_files)
    student = copy_model(model, norm="affine")
    with torch.no_grad():
        student.thex_bert.layers[0].attention_norm.weight[:4] = torch.tensor(
            [0.0, -0.01, 0.02, -0.7]
        )
    clamp_scales(student)
    got = student.thex_bert.layers[0].attention_norm.weight[:4].tolist()
    torch.testing.assert_close(got, [0.05, -0.05, 0.05, -0.7], rtol=1e-6, atol=1e-8)


def test_batches_hold_every_text_once_with_similar_lengths(bert_folder, data_files):
    _, data = prepare(bert_folder, data_files)
    batches = shuffled(data, 32, torch.Generator().manual_seed(0))
    assert sorted(int(i) for rows in batches for i in rows) == list(range(len(data)))
    spread = [len({len(data.ids[int(i)]) for i in rows}) for rows in batches]
    assert max(spread) <= 4
