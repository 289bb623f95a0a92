"""Fine-tuning: packing changes neither losses nor weights, and runs can be stopped, resumed and queued."""

import json
from pathlib import Path

import pytest
import torch
from conftest import LEAKING, table
from peft import PeftModel
from trainings import DS, FAST, fail_at, hold_at, losses, same_training
from transformers import AutoModelForCausalLM

from workbench.core.errors import UserError
from workbench.lm import models
from workbench.training import Run, finetune
from workbench.training.folder import RunFolder


@pytest.fixture
def tune(toy_model_dir, tmp_path):
    """Return a function that starts a run of the toy llama, in a folder of the given name."""

    def start(name: str = "run", model: str | Path | None = None, **settings) -> Run:
        folder = model or toy_model_dir("llama")
        return finetune(DS, folder, tmp_path / name, **FAST | {"batch_size": 4} | settings)

    return start


@pytest.fixture(scope="module")
def padded(toy_model_dir, tmp_path_factory) -> Run:
    """Return a run of six steps; each sees all eight samples, one per row."""
    folder = tmp_path_factory.mktemp("padded")
    return finetune(DS, toy_model_dir("llama"), folder, **FAST, batch_size=8, epochs=6, strategy="pad").wait()


@pytest.mark.parametrize("strategy", ["dynamic", "balanced", "flat", "bfd", "exact"])
def test_packed_training_equals_padded_training(tune, padded, strategy):
    packed = tune(batch_size=8, epochs=6, strategy=strategy).wait()
    assert len(packed.history) == 6
    assert losses(packed)[-1] < losses(packed)[0]
    same_training(packed, padded)


def test_padded_training_equals_that_of_the_plain_model(padded, toy_model_dir, tmp_path):
    """Compare with the loss of transformers itself, with ordinary padding and an attention mask."""
    plain = finetune(
        DS,
        toy_model_dir("llama"),
        tmp_path / "run",
        **FAST,
        batch_size=8,
        epochs=6,
        strategy="pad",
        leaky=True,
    )
    # Two attention kernels round differently, and six steps of Adam make 1.5e-5 of it in one weight.
    same_training(plain.wait(), padded, atol=3e-5)


def test_accumulated_batches_equal_one_large_batch(tune, padded):
    same_training(tune(batch_size=4, accumulation=2, epochs=6).wait(), padded)


def test_max_steps_ends_training_within_an_epoch(tune):
    run = tune(batch_size=2, epochs=3, max_steps=5).wait()
    assert [record["step"] for record in run.history] == [1, 2, 3, 4, 5]
    assert {record["of"] for record in run.history} == {5}
    assert run.history[-1]["learning_rate"] < run.history[0]["learning_rate"] / 5  # scheduled over 5 steps
    assert run.summary["tokens"] == run.history[-1]["tokens"]
    assert run.status == "done"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_gradient_checkpointing_changes_only_memory(tune, method):
    settings = {"method": method, "lora_dropout": 0.0}
    plain = tune("plain", **settings).wait()
    same_training(tune("checkpointing", gradient_checkpointing=True, **settings).wait(), plain)


def test_leaky_packs_train_differently(tune):
    isolated, leaky = tune("isolated").wait(), tune("leaky", leaky=True).wait()
    assert losses(leaky) != pytest.approx(losses(isolated), rel=1e-4)


def test_transformers_loads_the_trained_model(tune):
    run = tune().wait()
    assert run.status == "done"
    model = AutoModelForCausalLM.from_pretrained(run.model_dir)
    ours, tokenizer = models.load_model(run.model_dir, "float32")
    ids = tokenizer("def add", return_tensors="pt").input_ids
    torch.testing.assert_close(model(input_ids=ids).logits, ours(input_ids=ids).logits)


def test_an_adapter_is_saved_and_loaded_merged(tune, toy_model_dir):
    run = tune(method="lora", epochs=3).wait()
    assert losses(run)[-1] < losses(run)[0]
    assert (run.model_dir / "adapter_config.json").exists()
    merged, tokenizer = models.load_model(run.model_dir, "float32")
    base = AutoModelForCausalLM.from_pretrained(toy_model_dir("llama"))
    wrapped = PeftModel.from_pretrained(base, run.model_dir).eval()
    ids = tokenizer("def add", return_tensors="pt").input_ids
    torch.testing.assert_close(
        merged(input_ids=ids).logits, wrapped(input_ids=ids).logits, atol=1e-4, rtol=1e-4
    )


def test_a_tuned_adapter_can_be_tuned_again(tune):
    first = tune("first", method="lora").wait()
    second = tune("second", method="lora", model=first.model_dir).wait()
    assert second.status == "done"
    models.load_model(second.model_dir, "float32")


def test_the_folder_records_settings_summary_and_history(tune):
    run = tune(epochs=2).wait()
    state = json.loads((run.output_dir / "run.json").read_text())
    assert (state["status"], state["error"]) == ("done", None)
    assert state["settings"]["learning_rate"] == 1e-2
    assert state["summary"] == run.summary
    lines = (run.output_dir / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == run.history
    assert [record["step"] for record in run.history] == [1, 2, 3, 4]
    assert run.history[-1]["tokens"] == run.summary["tokens"]
    assert repr(run) == f"<Run {run.output_dir}: done, step 4 of 4>"


def test_rows_without_a_target_are_counted_and_left_out(toy_model_dir, tmp_path):
    ds = table([*DS["instruction"][:], "Add. " * 200], [*DS["response"][:], "a + b"])
    run = finetune(ds, toy_model_dir("llama"), tmp_path / "run", **FAST).wait()
    assert (run.summary["samples"], run.summary["samples_without_target"]) == (8, 1)


def test_training_on_no_response_token_raises(toy_model_dir, tmp_path):
    with pytest.raises(UserError, match="none of the 8 rows has a response token within max_length=10"):
        finetune(DS, toy_model_dir("llama"), tmp_path / "run", **FAST | {"max_length": 10})
    assert not (tmp_path / "run").exists()


def test_a_folder_with_a_run_is_kept_unless_overwritten(tune, tmp_path):
    first = tune(epochs=2).wait()
    with pytest.raises(UserError, match=r"output_dir='.*run' already holds a run; .* pass overwrite=True"):
        tune()
    assert len(first.history) == 4
    second = tune(overwrite=True).wait()
    assert (second.status, len(second.history)) == ("done", 2)


def test_overwrite_removes_only_what_the_run_wrote(tune, tmp_path):
    tune(eval_steps=2, heldout=DS).wait()
    (tmp_path / "run/analysis.ipynb").write_text("of the first run")
    (tmp_path / "run/figures").mkdir()
    assert tune(overwrite=True).wait().status == "done"
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        *("run.json", "samples.parquet", "history.jsonl", "run.log", "model"),
        *("analysis.ipynb", "figures"),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "nowhere/model"},
        {"max_length": 10},
        {"heldout": DS},
        {"device": "cuda:99"},
        {"method": "qlora"},
        {"dtype": "bf16"},
    ],
)
def test_a_run_is_overwritten_only_by_one_that_can_start(tune, changes):
    first = tune().wait()
    with pytest.raises(UserError):
        tune(overwrite=True, **changes)
    assert first.status == "done"
    assert models.load_model(first.model_dir)


def test_a_run_is_not_overwritten_if_the_new_one_cannot_be_written(tune, monkeypatch):
    first = tune().wait()
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write", lambda *_: (_ for _ in ()).throw(OSError("No space left")))
        with pytest.raises(OSError, match="No space left"):
            tune(overwrite=True)
    assert (first.status, len(first.history)) == ("done", 2)
    assert not list(first.output_dir.glob(".*"))


def test_a_run_is_not_overwritten_by_one_that_needs_its_model(tune, tmp_path):
    first = tune(method="lora").wait()
    second = tune("second", model=first.model_dir, method="lora").wait()
    for model in (first.model_dir, second.model_dir):
        with pytest.raises(UserError, match=r"model='.*' needs .*model, which overwrite=True would remove"):
            tune(model=model, overwrite=True)
    assert first.status == "done"


def test_an_active_run_is_never_overwritten(tune):
    run = tune(epochs=20)
    with pytest.raises(UserError, match=r"output_dir='.*run' holds a run that is still active"):
        tune(overwrite=True)
    assert run.stop().status == "stopped"


def test_overwrite_never_deletes_a_folder_that_is_not_a_run(tune, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.tex").write_text("years of work")
    (tmp_path / "run/run.log").write_text("of another program")
    with pytest.raises(UserError, match=r"output_dir='.*run' holds run.log, but no run; choose another"):
        tune(overwrite=True)
    (tmp_path / "run/run.log").unlink()
    tune(overwrite=True).wait()
    assert (tmp_path / "run/thesis.tex").read_text() == "years of work"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_stopped_run_resumes_as_if_undisturbed(tune, method, monkeypatch):
    settings = {"method": method, "epochs": 4, "warmup_steps": 2, "strategy": "dynamic"}
    undisturbed = tune("undisturbed", **settings).wait()
    with monkeypatch.context() as patch:
        paused = hold_at(3, patch)
        run = tune("stopped", **settings)
        assert paused.wait(30)
        run.stop()
    assert (run.status, run.summary["steps"]) == ("stopped", 4)  # one step after the pause
    assert run.resume().wait().status == "done"
    assert [record["step"] for record in run.history] == list(range(1, 9))
    same_training(run, undisturbed)
    with pytest.raises(UserError, match="is done; only a stopped or failed run can be resumed"):
        run.resume()


def test_a_loss_that_is_not_finite_fails_the_run(tune):
    run = tune(learning_rate=1e30, epochs=4)
    with pytest.raises(
        UserError, match=r"the loss is (nan|inf) at step \d; try a lower learning_rate than 1e\+30"
    ):
        run.wait()
    assert run.status == "failed"
    state = json.loads((run.output_dir / "run.json").read_text())
    assert state["status"] == "failed"
    assert "the loss is" in state["error"]
    assert "FloatingPointError" in (run.output_dir / "run.log").read_text()


@pytest.mark.slow
def test_a_failed_run_resumes_from_its_last_checkpoint(tune, monkeypatch):
    undisturbed = tune("undisturbed", epochs=3).wait()
    fail_at(5, monkeypatch)
    run = tune("failed", epochs=3, save_steps=2)
    with pytest.raises(UserError, match="the loss is nan at step 5"):
        run.wait()
    run.resume().wait()
    assert [record["step"] for record in run.history] == list(range(1, 7))
    same_training(run, undisturbed)
    lines = (run.output_dir / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == run.history


def test_an_architecture_that_leaks_cannot_be_packed(tune, toy_model_dir):
    run = tune("packed", model=toy_model_dir(LEAKING))
    with pytest.raises(
        UserError, match=r"BloomForCausalLM\) cannot train on packed samples \(.*strategy='pad'"
    ):
        run.wait()
    assert run.status == "failed"
    assert tune("padded", model=toy_model_dir(LEAKING), strategy="pad").wait().status == "done"


def test_a_second_run_is_queued(tune, monkeypatch):
    paused = hold_at(1, monkeypatch)
    first, second = tune("first"), tune("second")
    assert paused.wait(30)
    assert (first.status, second.status) == ("running", "queued")
    first.stop()
    second.stop()
    assert {first.status, second.status} <= {"done", "stopped"}
    assert second.history


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"learning_rat": 1e-4}, "setting='learning_rat' is not known; choose one of .*learning_rate"),
        ({"method": "dora"}, "method='dora' is not known; choose one of full, lora, qlora"),
        ({"strategy": "ffd"}, "strategy='ffd' is not known"),
        ({"epochs": 0}, "epochs=0 must be a whole number of at least 1"),
        ({"batch_size": 2.5}, "batch_size=2.5 must be a whole number"),
        ({"learning_rate": -1}, "learning_rate=-1 must be a finite number above 0"),
    ],
)
def test_an_invalid_setting_raises(tune, setting, message):
    with pytest.raises(UserError, match=message):
        tune(**setting)
