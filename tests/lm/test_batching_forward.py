"""Packed samples give the tensors, losses and gradients that each sample gives alone."""

from contextlib import nullcontext

import pytest
import torch
from conftest import ARCHITECTURES, ISOLATING, LEAKING
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from workbench.lm import attention, forward, models, nll
from workbench.lm.attention import packed_attention
from workbench.lm.batching import (
    collate,
    collate_families,
    collate_leaking,
    family_size,
    flat_batches,
    make_layout,
)
from workbench.lm.mode import batch_mode, deviation, shares_prefixes
from workbench.lm.nll import packed_nll, target_nll
from workbench.lm.packed import PackedLM
from workbench.lm.prompts import IGNORE_INDEX, Sample

# 5, 3 and 9 tokens. The toy mistral has a sliding window of 6.
SAMPLES = [
    Sample((40, 41, 42, 43, 44), 2),
    Sample((50, 51, 52), 1),
    Sample((60, 61, 62, 63, 64, 65, 66, 67, 68), 4),
]
ROWS = [SAMPLES[:2], SAMPLES[2:], [SAMPLES[1]]]  # with 1, 0 and 6 tokens of padding

lists_of_samples = st.lists(
    st.lists(st.integers(2, 300), min_size=2, max_size=12).flatmap(
        lambda ids: st.builds(Sample, st.just(tuple(ids)), st.integers(1, len(ids)))
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture
def toy(toy_model_dir):
    """Loads a toy model of an architecture, in float32."""
    return lambda architecture="llama": models.load_model(toy_model_dir(architecture), "float32")[0]


def nll_alone(model, sample: Sample) -> torch.Tensor:
    """nll of the targets of one sample, from a plain forward pass."""
    ids = torch.tensor([sample.input_ids])
    log_p = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
    at = range(sample.first_target, len(sample.input_ids))
    return torch.stack([-log_p[t - 1, sample.input_ids[t]] for t in at])


def test_collate_on_a_literal_example():
    batch = collate([[Sample((7, 8, 9), 2), Sample((5, 6), 1)], [Sample((1, 2, 3), 1)]], pad_id=0)
    assert batch["input_ids"].tolist() == [[7, 8, 9, 5, 6], [1, 2, 3, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 9, -100, 6], [-100, 2, 3, -100, -100]]
    assert batch["layout"]["lengths"] == [[3, 2], [3]]


def test_the_layout_of_a_literal_example():
    """Samples of 3 and 2 tokens in one row, and of 3 in a second row with two tokens of padding."""
    layout = make_layout([[3, 2], [3]], width=5)
    assert layout["ends"].tolist() == [0, 3, 5, 8, 10]
    assert layout["longest"] == 3
    groups = [(tokens.tolist(), lengths) for tokens, lengths in layout["groups"]]
    assert groups == [([[0, 1, 2], [5, 6, 7]], [3, 3]), ([[3, 4]], [2])]
    starts, longest, steps = layout["slots"].tolist()
    assert starts == [0, 0, 0, 6, 6, 3, 3, 3, 0, 0]
    assert longest == [3, 3, 3, 2, 2, 3, 3, 3, 0, 0]
    assert steps == [0, 1, 2, 0, 1, 0, 1, 2, 0, 0]


def test_behind_a_samples_end_its_last_token_is_repeated():
    ((tokens, lengths),) = make_layout([[3, 4]], width=7)["groups"]
    assert (tokens.tolist(), lengths) == ([[3, 4, 5, 6], [0, 1, 2, 2]], [4, 3])


def test_collate_pads_to_length():
    batch = collate([[Sample((7, 8), 1)]], pad_id=4, length=5)
    assert batch["input_ids"].tolist() == [[7, 8, 4, 4, 4]]
    assert batch["labels"].tolist() == [[-100, 8, -100, -100, -100]]


def test_the_papers_collator_masks_padding_only():
    inputs = collate_leaking([[Sample((7, 8, 9), 2), Sample((5, 6), 1)], [Sample((1, 2, 3), 1)]])
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert "position_ids" not in inputs


@given(lists_of_samples)
def test_the_first_token_of_a_sample_is_never_a_target(samples):
    labels = collate([samples])["labels"]
    starts = torch.tensor([len(sample.input_ids) for sample in samples]).cumsum(0)[:-1].tolist()
    assert all(labels[0, start] == IGNORE_INDEX for start in [0, *starts])
    assert int((labels != IGNORE_INDEX).sum()) == sum(sample.n_targets for sample in samples)


@given(st.lists(st.integers(1, 30), max_size=20), st.integers(1, 40))
def test_flat_batches_hold_every_size_once_within_the_budget(sizes, budget):
    batches = list(flat_batches(sizes, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))
    assert all(len(batch) == 1 or sum(sizes[i] for i in batch) <= budget for batch in batches)
    assert [sizes[i] for batch in batches for i in batch] == sorted(sizes, reverse=True)


@pytest.mark.parametrize("architecture", ISOLATING)
def test_packed_samples_have_the_nll_of_each_alone(toy, architecture):
    model = toy(architecture)
    with torch.inference_mode():
        alone = torch.cat([nll_alone(model, sample) for row in ROWS for sample in row])
        with packed_attention(model):
            packed = target_nll(model, collate(ROWS))
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)
    assert all(deviation(model, packed_nll, gradients) < 1e-4 for gradients in (False, True))
    assert batch_mode(model).name == batch_mode(model, training=True).name == "packed"


def test_families_on_a_literal_example():
    """A member that shares two tokens, one that shares all but its end, and a family of one."""
    first = Sample((7, 8, 9, 10), 2)
    families = [[first, Sample((7, 8, 11), 2), Sample((7, 8, 9), 1)], [Sample((7, 5), 1)]]
    batch, targets = collate_families(families)
    assert batch["input_ids"].tolist() == [[7, 8, 9, 10, 11, 7, 5]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 2, 0, 1]]
    assert batch["labels"].tolist() == [[-100, 8, 9, 10, 11, -100, 5]]
    assert batch["previous"].tolist() == [0, 0, 1, 2, 1, 5, 5]
    assert [[at.tolist() for at in members] for members in targets] == [[[2, 3], [4], [1, 2]], [[6]]]
    assert [family_size(family) for family in families] == [5, 2]


lists_of_families = st.lists(
    st.lists(st.integers(2, 5), min_size=2, max_size=40).flatmap(
        lambda ids: st.lists(
            st.tuples(st.integers(1, len(ids)), st.lists(st.integers(2, 5), min_size=1, max_size=20)).map(
                lambda cut: Sample((*ids[: cut[0]], *cut[1]), 1)
            ),
            min_size=1,
            max_size=4,
        )
    ),
    min_size=1,
    max_size=4,
)


@given(families=lists_of_families)
def test_members_of_any_family_have_the_nll_of_each_alone(toy_llama, families):
    sums = forward.summed_family_nll(toy_llama, families)
    with torch.inference_mode():
        alone = [[nll_alone(toy_llama, sample).sum().item() for sample in family] for family in families]
    for family, expected in zip(sums, alone, strict=True):
        assert family == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_families_are_exact_for_every_architecture(toy, architecture):
    """Where samples cannot share tokens, each runs alone."""
    model, ids = toy(architecture), tuple(range(40, 52))
    family = [Sample(ids, 4), Sample((*ids[:8], 90, 91, *ids[9:]), 4), Sample(ids[:6], 4)]
    with pytest.warns(UserWarning, match="cannot run packed") if architecture == LEAKING else nullcontext():
        (sums,) = forward.summed_family_nll(model, [family])
    with torch.inference_mode():
        assert sums == pytest.approx([nll_alone(model, sample).sum().item() for sample in family], abs=1e-4)
    assert shares_prefixes(model) == (architecture != LEAKING)


@given(samples=lists_of_samples)
def test_any_packed_samples_have_the_nll_of_each_alone(toy_llama, samples):
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
    with packed_attention(model):
        PackedLM(model)(**collate(ROWS)).loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, alone[name], atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("architecture", ["llama", "gpt_neox"])
def test_under_autocast_packed_samples_train_as_padded_ones(toy, architecture):
    """Compares with transformers' own loss and attention, within the precision of bfloat16."""
    model, padded = toy(architecture), [[sample] for row in ROWS for sample in row]
    losses, norms = [], []
    for leaky in (True, False):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), nullcontext() if leaky else packed_attention(model):
            loss = PackedLM(model)(**collate_leaking(padded) if leaky else collate(ROWS)).loss
            loss.backward()
        losses.append(loss.item())
        norms.append([p.grad.norm().item() for p in model.parameters()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert norms[0] == pytest.approx(norms[1], rel=5e-2, abs=1e-3)


def test_an_architecture_that_cannot_isolate_samples_is_noticed_and_named(toy):
    model = toy(LEAKING)
    with pytest.raises(NotImplementedError, match="BloomForCausalLM has a fixed attention implementation"):
        deviation(model, packed_nll)
    assert batch_mode(model, training=True).name == "padded"
    with pytest.warns(UserWarning, match=r"BloomForCausalLM cannot run packed samples \(.*fixed attention"):
        forward.summed_nll(model, [Sample((3, 4, 5), 1)])


@pytest.mark.parametrize(
    ("architecture", "named"),
    [("gemma2", {"final_logit_softcapping": 1.0}), ("cohere", {"logit_scale": 0.25})],
)
def test_models_that_transform_their_logits_are_not_packed(architecture, named):
    """The head alone would give another loss."""
    config = AutoConfig.for_model(architecture, **ARCHITECTURES["llama"], **named, vocab_size=384)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    assert batch_mode(model, training=True).name == "padded"


def test_the_papers_collator_leaks_on_opt_and_ours_does_not(toy):
    """The second sample of a row: alone, with the paper's collator and with ours."""
    model, batch = toy("opt"), collate([SAMPLES])
    first, second = (sample.n_targets for sample in SAMPLES[:2])
    leaking = collate_leaking([SAMPLES])
    at = (leaking["labels"][0] != IGNORE_INDEX).nonzero()[:, 0]
    with torch.inference_mode():
        alone = nll_alone(model, SAMPLES[1])
        with packed_attention(model):
            ours = target_nll(model, batch)[first : first + second]
        inputs = {name: leaking[name] for name in ("input_ids", "attention_mask")}
        log_p = model(**inputs, use_cache=False).logits[0].log_softmax(-1)
    theirs = -log_p[at - 1, leaking["input_ids"][0, at]][first : first + second]
    torch.testing.assert_close(ours, alone, atol=1e-5, rtol=1e-5)
    assert (theirs - alone).abs().max() > 1e-2


def test_a_deliberate_leak_is_noticed(toy, monkeypatch):
    def one_long_sample(rows, *args):
        """As the paper's collator does: positions run on through a row and nothing separates the samples."""
        (row,) = rows
        batch = collate(rows, *args)
        length = batch["input_ids"].shape[1]
        layout = make_layout([[sum(len(sample.input_ids) for sample in row)]], length)
        return batch | {"position_ids": torch.arange(length)[None], "layout": layout}

    monkeypatch.setattr(nll, "collate", one_long_sample)
    assert deviation(toy(), packed_nll) > 1e-2


def test_a_leak_that_only_affects_training_is_noticed(toy, monkeypatch):
    """Attention may use another kernel when gradients are enabled."""

    def one_long_sample(query, key, value, layout, *args):
        if torch.is_grad_enabled():
            layout = make_layout([[sum(row)] for row in layout["lengths"]], len(query))
        return grouped(query, key, value, layout, *args)

    model, grouped = toy(), attention._grouped
    assert batch_mode(toy(), training=True).name == "packed"
    monkeypatch.setattr(attention, "_grouped", one_long_sample)
    mode = batch_mode(model, training=True)
    assert mode.name == "padded"
    assert "packed samples see each other" in mode.reason
    assert forward.summed_nll(model, SAMPLES)  # scoring has no gradients: still packed, and no warning


def test_an_error_in_the_self_test_is_reported_as_that_error(toy, monkeypatch):
    def broken(*args):
        raise TypeError("no such kernel")

    monkeypatch.setattr(attention, "_grouped", broken)
    model = toy()
    assert batch_mode(model).reason == "a packed forward pass raises TypeError: no such kernel"
    with pytest.warns(UserWarning, match=r"cannot run packed samples \(.*TypeError: no such kernel\)"):
        forward.summed_nll(model, SAMPLES)
    monkeypatch.setattr(attention, "_grouped", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        batch_mode(toy())


def test_a_kernel_that_fails_is_reported_and_exhausted_memory_is_not_a_reason(toy, monkeypatch):
    def failing(message):
        def fail(*args):
            raise RuntimeError(message)

        return fail

    monkeypatch.setattr(attention, "_grouped", failing("no kernel image is available"))
    mode = batch_mode(toy(), training=True)
    assert (mode.name, mode.reason) == (
        "padded",
        "a packed forward pass raises RuntimeError: no kernel image is available",
    )
    monkeypatch.setattr(attention, "_grouped", failing("CUDA out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        batch_mode(toy())


def test_the_self_test_computes_in_the_callers_autocast(toy, monkeypatch):
    """Rounding in bfloat16 is no leak, and each number format has a result of its own."""
    model, dtypes, grouped = toy(), [], attention._grouped

    def recorded(query, *args):
        dtypes.append(query.dtype)
        return grouped(query, *args)

    monkeypatch.setattr(attention, "_grouped", recorded)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert batch_mode(model).name == "packed"
    assert set(dtypes) == {torch.bfloat16}
    assert batch_mode(model).name == "packed"
    assert set(dtypes) == {torch.bfloat16, torch.float32}


def test_a_loss_that_is_not_a_number_is_not_called_a_leak(toy, monkeypatch):
    monkeypatch.setattr(attention, "_grouped", lambda query, *args: query * float("nan"))
    reason = "the loss of packed samples differs from that of single ones by nan nats per token"
    assert batch_mode(toy()).reason == reason


def test_the_self_test_runs_once_per_model_and_leaves_no_attribute(toy, monkeypatch):
    model = toy()
    attributes = set(vars(model))
    first = batch_mode(model)
    monkeypatch.setattr(attention, "_grouped", lambda *args: 1 / 0)
    assert batch_mode(model) is first
    assert set(vars(model)) == attributes


def test_the_layout_isolates_a_llama_whatever_its_positions(toy):
    """Rotary attention depends on distances only, so only the layout isolates samples."""
    model = toy()
    batch = collate([SAMPLES])
    joined = batch | {"layout": make_layout([[17]], 17)}
    with torch.inference_mode(), packed_attention(model):
        apart, together = target_nll(model, batch), target_nll(model, joined)
    first = SAMPLES[0].n_targets
    torch.testing.assert_close(apart[:first], together[:first], atol=1e-5, rtol=1e-5)
    assert (apart[first:] - together[first:]).abs().max() > 1e-2


def test_a_sliding_window_is_kept(toy):
    """A token further back than both layers' windows of 6 has no influence; a nearer one has."""
    model = toy("mistral")

    def last_nll(first: int, near: int) -> float:
        ids = (first, *range(100, 115), near, 60, 61)
        with torch.inference_mode(), packed_attention(model):
            return target_nll(model, collate([[Sample(ids, len(ids) - 1)]])).item()

    assert last_nll(7, 30) == pytest.approx(last_nll(200, 30), abs=1e-6)
    assert last_nll(7, 30) != pytest.approx(last_nll(7, 31), abs=1e-3)


def test_num_items_in_batch_replaces_the_mean(toy):
    model, batch = toy(), collate(ROWS)
    n = sum(sample.n_targets for row in ROWS for sample in row)
    with torch.no_grad(), packed_attention(model):
        mean = PackedLM(model)(**batch).loss.item()
        assert PackedLM(model)(**batch, num_items_in_batch=2 * n).loss.item() == pytest.approx(mean / 2)


def test_the_model_is_restored_after_the_context_and_after_an_error(toy):
    model = toy()
    implementation, plain = model.config._attn_implementation, model.forward
    with packed_attention(model):
        assert PackedLM(model)(**collate(ROWS)).loss > 0
    with pytest.raises(RuntimeError, match="in between"), packed_attention(model):
        raise RuntimeError("in between")
    assert model.config._attn_implementation == implementation
    assert model.forward == plain
    with torch.inference_mode():
        assert model(input_ids=torch.tensor([[5, 6, 7]])).logits.shape == (1, 3, 384)


def test_a_packed_batch_outside_the_context_is_refused(toy):
    """The model's own attention would ignore the layout, and samples would see each other."""
    with pytest.raises(RuntimeError, match="a packed batch needs `with packed_attention"):
        PackedLM(toy())(**collate(ROWS))


@pytest.mark.parametrize("architecture", ["llama", "gemma"])  # gemma ties its head to the embeddings
def test_the_wrapper_keeps_the_models_names_and_weights(toy, architecture):
    model = toy(architecture)
    wrapper = PackedLM(model)
    assert list(wrapper.state_dict()) == list(model.state_dict())
    assert [name for name, _ in wrapper.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert all(ours is theirs for ours, theirs in zip(wrapper.parameters(), model.parameters(), strict=True))
    assert wrapper.config is model.config


def test_the_wrapper_switches_the_model_between_training_and_evaluation(toy):
    model = toy()
    wrapper = PackedLM(model)
    assert not wrapper.training
    wrapper.train()
    assert all(module.training for module in (wrapper, model, model.get_decoder()))
    wrapper.eval()
    assert not any(module.training for module in (wrapper, model, model.get_decoder()))


def test_a_batch_without_a_layout_goes_through_the_models_own_forward(toy):
    model, batch = toy(), collate_leaking([SAMPLES])
    with torch.no_grad():
        assert PackedLM(model)(**batch).loss == model(**batch).loss


def test_a_wrapped_adapter_gives_the_loss_of_the_merged_model(toy):
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], init_lora_weights=False)
    adapted = get_peft_model(toy(), settings)
    wrapper = PackedLM(adapted)
    assert list(wrapper.state_dict()) == list(adapted.state_dict())
    with torch.no_grad(), packed_attention(adapted.get_base_model()):
        loss = wrapper(**collate(ROWS)).loss.item()
    merged = adapted.merge_and_unload()
    with torch.no_grad():
        alone = torch.cat([nll_alone(merged, sample) for row in ROWS for sample in row])
    assert loss == pytest.approx(alone.mean().item(), abs=1e-5)


def test_long_responses_go_through_the_head_in_chunks(toy, monkeypatch):
    model, batch = toy(), collate(ROWS)
    with torch.inference_mode(), packed_attention(model):
        at_once = target_nll(model, batch)
        monkeypatch.setattr(nll, "_HEAD_ROWS", 3)
        torch.testing.assert_close(target_nll(model, batch), at_once, atol=1e-6, rtol=1e-6)
