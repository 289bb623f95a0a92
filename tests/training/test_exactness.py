"""Packed training equals padded training: the same losses and weights over twelve optimizer steps."""

import pytest
import torch
from conftest import ISOLATING, table
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from workbench import packing
from workbench.core.errors import UserError
from workbench.lm import models
from workbench.lm.attention import packed_attention
from workbench.lm.batching import collate, collate_leaking
from workbench.lm.packed import PackedLM
from workbench.lm.prompts import Sample
from workbench.training import TrainingSettings, finetune
from workbench.training.schedule import Schedule, fitted
from workbench.training.trainable import recompute

STEPS, BATCH = 12, 4


def samples(n: int = STEPS * BATCH) -> list[Sample]:
    """Return samples of 3 to 40 tokens; the last three quarters of each are predicted."""
    torch.manual_seed(1)
    sizes = torch.randint(3, 41, (n,)).tolist()
    return [Sample(tuple(torch.randint(2, 300, (size,)).tolist()), 1 + size // 4) for size in sizes]


def momentum(parameters):
    # Adam would divide by the root of gradients near zero, which turns rounding errors into full steps.
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def adam(parameters):
    return torch.optim.AdamW(parameters, lr=1e-3)


def train(folder, strategy: str, optimizer=momentum, **settings) -> tuple[list[float], dict]:
    """Return the losses of twelve steps on the same batches, and the weights after them."""
    model, _ = models.load_model(folder, "float32")
    model.train()
    schedule = Schedule(samples(), TrainingSettings(strategy=strategy, batch_size=BATCH, max_length=64))
    optimizer, losses = optimizer(model.parameters()), []
    if settings:
        recompute(model, **settings)
    packed = PackedLM(model)
    with packed_attention(model):
        for t in range(len(schedule)):
            loss = packed(**collate(schedule[t])).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, dict(model.named_parameters())


def assert_same(actual: tuple[list[float], dict], expected: tuple[list[float], dict]) -> None:
    """Assert that losses and weights, as `train` returns them, agree."""
    assert len(actual[0]) == len(expected[0]) == STEPS
    assert actual[0] == pytest.approx(expected[0], abs=1e-5)
    for name, weight in expected[1].items():
        torch.testing.assert_close(actual[1][name], weight, atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma", "gpt_neox", "opt"])
def test_twelve_packed_steps_equal_twelve_padded_steps(toy_model_dir, architecture):
    folder = toy_model_dir(architecture)
    padded = train(folder, "pad")
    assert padded[0][-1] != pytest.approx(padded[0][0], abs=0.1)  # the loss changes
    for strategy in ("dynamic", "balanced", "flat"):
        assert_same(train(folder, strategy), padded)


def without_key_bias(architecture: str, trained: tuple[list[float], dict]) -> tuple[list[float], dict]:
    """Set the biases of keys to zero. Unless keys are rotated, such a bias shifts all scores of a query alike
    and changes nothing; its gradient is a rounding error, which Adam turns into full steps."""
    losses, weights = trained
    copies = {name: weight.detach().clone() for name, weight in weights.items()}
    for name, weight in copies.items():
        if architecture == "opt" and name.endswith("k_proj.bias"):
            weight.zero_()
        if architecture == "gpt_neox" and name.endswith("query_key_value.bias"):
            weight.unflatten(0, (4, 3, -1))[:, 1].zero_()
    return losses, copies


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma", "gpt_neox", "opt"])
def test_twelve_packed_steps_of_adam_equal_twelve_padded_steps(toy_model_dir, architecture):
    folder = toy_model_dir(architecture)
    padded = without_key_bias(architecture, train(folder, "pad", adam))
    for strategy in ("balanced", "flat"):
        assert_same(without_key_bias(architecture, train(folder, strategy, adam)), padded)


def test_padded_steps_equal_those_of_transformers(toy_model_dir):
    """Compare with the attention, mask and loss over full logits of transformers itself."""
    folder = toy_model_dir("llama")
    expected = train(folder, "pad")
    model, _ = models.load_model(folder, "float32")
    optimizer, schedule = momentum(model.parameters()), samples()
    plan = packing.pack([len(s.input_ids) for s in schedule], 64, "pad", batch_size=BATCH, seed=0)
    losses = []
    for batch in plan.batches:
        loss = model(**collate_leaking([[schedule[i] for i in row] for row in batch])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert_same((losses, dict(model.named_parameters())), expected)


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("architecture", ISOLATING)
def test_recomputing_does_not_change_the_training(toy_model_dir, architecture, everything):
    folder = toy_model_dir(architecture)
    assert_same(train(folder, "balanced", everything=everything), train(folder, "balanced"))


def test_only_cheap_operations_are_recomputed(toy_model_dir):
    """Recomputing whole layers takes a third more multiplications; the default takes none."""
    model, _ = models.load_model(toy_model_dir("llama"), "float32")
    model.train()

    def multiplications() -> int:
        with packed_attention(model), FlopCounterMode(display=False) as counter:
            PackedLM(model)(**collate([samples(4)])).loss.backward()
        return counter.get_total_flops()

    plain = multiplications()
    recompute(model)
    assert multiplications() == plain
    recompute(model, everything=True)
    assert multiplications() > 1.1 * plain


@pytest.mark.parametrize("overlong", packing.OVERLONG)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8), max_length=st.integers(2, 20))
def test_overlong_samples_are_cut_split_or_dropped(overlong, sizes, max_length):
    whole = [Sample(tuple(range(100 * i, 100 * i + n)), max(1, n // 3)) for i, n in enumerate(sizes)]
    settings = TrainingSettings(overlong=overlong, max_length=max_length)
    pieces, cuts = fitted(whole, settings)
    predicted = [t for piece in pieces for t in piece.input_ids[piece.first_target :]]
    assert all(len(piece.input_ids) <= max_length for piece in pieces)
    assert cuts.n_overlong == sum(size > max_length for size in sizes)
    if overlong == "split":
        assert predicted == [t for sample in whole for t in sample.input_ids[sample.first_target :]]
    elif overlong == "drop":
        assert pieces == [sample for sample in whole if len(sample.input_ids) <= max_length]
    else:
        assert [piece.input_ids for piece in pieces] == [sample.input_ids[:max_length] for sample in whole]


def test_the_summary_reports_overlong_samples(toy_model_dir, tmp_path):
    ds = table(["Add."] * 3, ["a + b", "a + b " * 60, "a + b " * 90])
    settings = {"max_length": 128, "overlong": "split", "dtype": "float32", "device": "cpu"}
    run = finetune(ds, toy_model_dir("llama"), tmp_path / "run", **settings).wait()
    assert run.summary["overlong"] == "2 overlong samples split"
    assert run.summary["samples"] > 3
    with pytest.raises(UserError, match="overlong='wrap' is not known; choose one of drop, split, truncate"):
        finetune(ds, toy_model_dir("llama"), tmp_path / "other", overlong="wrap")
