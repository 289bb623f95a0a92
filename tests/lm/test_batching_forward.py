"""Packed samples give what each gives alone: tensors, losses and gradients."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from conftest import ARCHITECTURES, ISOLATING, LEAKING
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from workbench.lm import attention, batching, forward, models
from workbench.lm.batching import collate, collate_leaking, flat_batches
from workbench.lm.prompts import IGNORE_INDEX, Sample

# Three samples of 5, 3 and 9 tokens; the sliding window of the toy mistral is 6.
SAMPLES = [
    Sample((40, 41, 42, 43, 44), 2),
    Sample((50, 51, 52), 1),
    Sample((60, 61, 62, 63, 64, 65, 66, 67, 68), 4),
]
ROWS = [SAMPLES[:2], SAMPLES[2:], [SAMPLES[1]]]  # padded by 1, 0 and 6

lists_of_samples = st.lists(
    st.lists(st.integers(2, 300), min_size=2, max_size=12).flatmap(
        lambda ids: st.builds(Sample, st.just(tuple(ids)), st.integers(1, len(ids)))
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture
def toy(toy_model_dir):
    """A loaded toy of an architecture, in float32."""
    return lambda architecture="llama": models.load_model(toy_model_dir(architecture), "float32")[0]


def nll_alone(model, sample: Sample) -> torch.Tensor:
    """nll of the predicted tokens of one sample, from a plain forward pass."""
    ids = torch.tensor([sample.input_ids])
    log_p = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
    at = range(sample.first_target, len(sample.input_ids))
    return torch.stack([-log_p[t - 1, sample.input_ids[t]] for t in at])


def test_collate_on_a_literal_example():
    batch = collate([[Sample((7, 8, 9), 2), Sample((5, 6), 1)], [Sample((1, 2, 3), 1)]], pad_id=0)
    assert batch.input_ids.tolist() == [[7, 8, 9, 5, 6], [1, 2, 3, 0, 0]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 0, 0]]
    assert batch.labels.tolist() == [[-100, -100, 9, -100, 6], [-100, 2, 3, -100, -100]]
    assert batch.segments == ((3, 2), (3,))


def test_collate_pads_to_a_given_length():
    batch = collate([[Sample((7, 8), 1)]], pad_id=4, length=5)
    assert batch.input_ids.tolist() == [[7, 8, 4, 4, 4]]
    assert batch.labels.tolist() == [[-100, 8, -100, -100, -100]]


def test_the_papers_collator_masks_padding_only():
    inputs = collate_leaking([[Sample((7, 8, 9), 2), Sample((5, 6), 1)], [Sample((1, 2, 3), 1)]])
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert "position_ids" not in inputs


@given(lists_of_samples)
def test_the_first_token_of_a_sample_is_never_a_target(samples):
    batch = collate([samples])
    starts = torch.tensor([len(sample.input_ids) for sample in samples]).cumsum(0)[:-1].tolist()
    assert all(batch.labels[0, start] == IGNORE_INDEX for start in [0, *starts])
    assert int((batch.labels != IGNORE_INDEX).sum()) == sum(sample.n_targets for sample in samples)


@given(st.lists(st.integers(1, 30), max_size=20), st.integers(1, 40))
def test_flat_batches_hold_every_group_once_within_the_budget(sizes, budget):
    groups = [(Sample(tuple(range(size)), 1),) for size in sizes]
    batches = list(flat_batches(groups, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))
    assert all(len(batch) == 1 or sum(sizes[i] for i in batch) <= budget for batch in batches)
    assert [sizes[i] for batch in batches for i in batch] == sorted(sizes, reverse=True)


@pytest.mark.parametrize("architecture", ISOLATING)
def test_packed_samples_score_as_each_alone(toy, architecture):
    model = toy(architecture)
    with torch.inference_mode():
        alone = torch.cat([nll_alone(model, sample) for row in ROWS for sample in row])
        with forward.isolated(model):
            packed = forward.target_nll(model, collate(ROWS))
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)
    assert forward.leak(model) < 1e-4


@given(samples=lists_of_samples)
def test_any_samples_score_packed_as_alone(toy_llama, samples):
    packed = forward.summed_nll(toy_llama, samples)
    with torch.inference_mode():
        alone = [nll_alone(toy_llama, s).sum().item() if s.n_targets else 0.0 for s in samples]
    assert packed == pytest.approx(alone, abs=1e-4)


@pytest.fixture(scope="module")
def toy_llama(toy_model_dir):
    return models.load_model(toy_model_dir("llama"), "float32")[0]


@pytest.mark.parametrize("architecture", ISOLATING)
def test_gradients_of_packed_samples_are_those_of_each_alone(toy, architecture):
    model = toy(architecture)
    torch.cat([nll_alone(model, sample) for row in ROWS for sample in row]).mean().backward()
    alone = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    with forward.packed_loss(model):
        model(**collate(ROWS).as_inputs()).loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, alone[name], atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("architecture", ["llama", "gpt_neox"])
def test_under_autocast_packed_samples_train_as_padded_ones(toy, architecture):
    """Against transformers' own loss and attention, within the precision of bfloat16."""
    model, padded = toy(architecture), [[sample] for row in ROWS for sample in row]
    found = []
    for leaky in (True, False):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), nullcontext() if leaky else forward.packed_loss(model):
            inputs = collate_leaking(padded) if leaky else collate(ROWS).as_inputs()
            loss = model(**inputs).loss
            loss.backward()
        found.append((loss.item(), [p.grad.norm().item() for p in model.parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-2)
    assert found[0][1] == pytest.approx(found[1][1], rel=5e-2, abs=1e-3)


def test_an_architecture_that_leaks_is_noticed_and_named(toy):
    model = toy(LEAKING)
    assert forward.leak(model) > 1e-2
    assert not forward.isolates(model)
    with pytest.warns(UserWarning, match="BloomForCausalLM does not keep packed samples apart"):
        forward.summed_nll(model, [Sample((3, 4, 5), 1)])


@pytest.mark.parametrize(
    ("architecture", "named"),
    [("gemma2", {"final_logit_softcapping": 1.0}), ("cohere", {"logit_scale": 0.25})],
)
def test_logits_that_are_more_than_the_heads_are_noticed(architecture, named):
    """The head alone would give another loss, so that such a model is not packed."""
    config = AutoConfig.for_model(architecture, **ARCHITECTURES["llama"], **named, vocab_size=384)
    config._attn_implementation = "eager"
    assert not forward.isolates(AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval())


def test_the_papers_collator_leaks_on_opt_and_ours_does_not(toy):
    """The second sample of a row, alone, by the paper's collator and by ours."""
    model, batch = toy("opt"), collate([SAMPLES])
    first, second = (sample.n_targets for sample in SAMPLES[:2])
    leaking = collate_leaking([SAMPLES])
    at = (leaking["labels"][0] != IGNORE_INDEX).nonzero()[:, 0]
    with torch.inference_mode():
        alone = nll_alone(model, SAMPLES[1])
        with forward.isolated(model):
            ours = forward.target_nll(model, batch)[first : first + second]
        inputs = {name: leaking[name] for name in ("input_ids", "attention_mask")}
        log_p = model(**inputs, use_cache=False).logits[0].log_softmax(-1)
    theirs = -log_p[at - 1, leaking["input_ids"][0, at]][first : first + second]
    torch.testing.assert_close(ours, alone, atol=1e-5, rtol=1e-5)
    assert (theirs - alone).abs().max() > 1e-2


def test_a_leak_put_in_on_purpose_is_noticed(toy, monkeypatch):
    def one_long_sample(rows, *args):
        """As the paper's collator lays a row: positions run on and nothing parts the samples."""
        (row,) = rows
        batch = collate(rows, *args)
        length = batch.input_ids.shape[1]
        segments = ((sum(len(sample.input_ids) for sample in row),),)
        return batching.Batch(batch.input_ids, torch.arange(length)[None], batch.labels, segments)

    monkeypatch.setattr(forward, "collate", one_long_sample)
    assert forward.leak(toy()) > 1e-2


def test_a_leak_in_training_alone_is_noticed(toy, monkeypatch):
    """Attention goes another way where gradients are wanted."""

    def one_long_sample(query, key, value, layout, *args):
        lengths = tuple((sum(row),) for row in layout.segments)
        return each(query, key, value, replace(layout, segments=lengths), *args)

    model, each = toy(), attention._each
    assert forward.isolates(model)
    monkeypatch.setattr(attention, "_each", one_long_sample)
    assert not forward.isolates(model)
    assert forward.summed_nll(model, SAMPLES)  # scoring has no gradients: still packed, and no warning


def test_positions_that_run_on_shift_nothing_but_boundaries_do(toy):
    """Rotary attention sees distances only, so it is `segments` that isolates a llama."""
    model = toy()
    batch = collate([SAMPLES])
    joined = batching.Batch(batch.input_ids, batch.position_ids, batch.labels, ((17,),))
    with torch.inference_mode(), forward.isolated(model):
        apart, together = forward.target_nll(model, batch), forward.target_nll(model, joined)
    first = SAMPLES[0].n_targets
    torch.testing.assert_close(apart[:first], together[:first], atol=1e-5, rtol=1e-5)
    assert (apart[first:] - together[first:]).abs().max() > 1e-2


def test_a_sliding_window_is_kept(toy):
    """What lies further back than both layers' windows of 6 cannot matter; what lies nearer does."""
    model = toy("mistral")

    def last_nll(first: int, near: int) -> float:
        ids = (first, *range(100, 115), near, 60, 61)
        with torch.inference_mode(), forward.isolated(model):
            return forward.target_nll(model, collate([[Sample(ids, len(ids) - 1)]])).item()

    assert last_nll(7, 30) == pytest.approx(last_nll(200, 30), abs=1e-6)
    assert last_nll(7, 30) != pytest.approx(last_nll(7, 31), abs=1e-3)


def test_num_items_in_batch_replaces_the_mean(toy):
    model, inputs = toy(), collate(ROWS).as_inputs()
    n = sum(sample.n_targets for row in ROWS for sample in row)
    with torch.no_grad(), forward.packed_loss(model):
        mean = model(**inputs).loss.item()
        assert model(**inputs, num_items_in_batch=2 * n).loss.item() == pytest.approx(mean / 2)


@pytest.mark.parametrize("context", [forward.isolated, forward.packed_loss])
def test_the_model_is_as_before_afterwards_also_after_an_error(toy, context):
    model = toy()
    attention, plain = model.config._attn_implementation, model.forward
    with pytest.raises(RuntimeError, match="in between"), context(model):
        raise RuntimeError("in between")
    assert model.config._attn_implementation == attention
    assert model.forward == plain
    with torch.inference_mode():
        assert model(input_ids=torch.tensor([[5, 6, 7]])).logits.shape == (1, 3, 384)


def test_long_responses_go_through_the_head_in_chunks(toy, monkeypatch):
    model, batch = toy(), collate(ROWS)
    with torch.inference_mode(), forward.isolated(model):
        at_once = forward.target_nll(model, batch)
        monkeypatch.setattr(forward, "_HEAD_ROWS", 3)
        torch.testing.assert_close(forward.target_nll(model, batch), at_once, atol=1e-6, rtol=1e-6)
