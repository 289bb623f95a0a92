"""Two processes that shard the model train as one does, and either resumes from the other's checkpoint."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from workbench.lm.prompts import Sample
from workbench.training import TrainingSettings
from workbench.training.loop import train

STEPS, STOP = 4, 2
COMMON = {
    **{"learning_rate": 1e-2, "batch_size": 2, "max_length": 128, "dtype": "float32", "device": "cpu"},
    **{"strategy": "balanced", "save_minutes": None, "lora_dropout": 0.0, "lora_r": 4, "epochs": 2},
}
CASES = [(tied, method) for tied in (False, True) for method in ("full", "lora")]


def samples() -> list[Sample]:
    """Eight samples of 5 to 40 tokens: four batches per epoch, two steps of two."""
    torch.manual_seed(3)
    sizes = torch.randint(5, 41, (8,)).tolist()
    return [Sample(tuple(torch.randint(2, 300, (size,)).tolist()), 1 + size // 4) for size in sizes]


@pytest.fixture(scope="module")
def models(toy_tokenizer, tmp_path_factory) -> dict[bool, Path]:
    """Toy llamas, by whether the head is tied to the embeddings."""
    folders = {}
    for tied in (False, True):
        torch.manual_seed(0)
        config = AutoConfig.for_model(
            "llama",
            **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
            **{"num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.2},
            **{"vocab_size": 384, "tie_word_embeddings": tied, "bos_token_id": None, "eos_token_id": 0},
        )
        folders[tied] = tmp_path_factory.mktemp("toy")
        AutoModelForCausalLM.from_config(config).save_pretrained(folders[tied])
        toy_tokenizer.save_pretrained(folders[tied])
    return folders


def alone(model: Path, method: str, folder: Path, checkpoint: Path | None = None, stop: int | None = None):
    """Train in this process; a step is two passes, as two processes have one each."""
    history = []
    settings = TrainingSettings(**COMMON, method=method, accumulation=2)
    train(
        str(model),
        samples(),
        settings,
        folder,
        on_record=history.append,
        should_stop=lambda: stop is not None and len(history) == stop - 1,  # asked before the record
        checkpoint=checkpoint,
    )
    return history


def together(jobs: list[dict], folder: Path) -> None:
    """Train `jobs` one after the other in two processes."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).parents[1] / "sharded.py"
    command = [sys.executable, str(script)]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(port), str(folder / "jobs.json")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    errors = "\n".join(text[-3000:] for text in outputs)
    assert [process.returncode for process in processes] == [0, 0], errors


def history_of(folder: Path) -> list[dict]:
    """The history of a training by `together`, after checking that it was sharded."""
    records = json.loads((folder / "history.json").read_text())
    assert records["sharded"]
    return records["history"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = (folder / "model").glob("*.safetensors")
    return load_file(file)


def assert_same(history: list[dict], folder: Path, expected: list[dict], expected_folder: Path) -> None:
    for name in ("step", "loss", "tokens", "learning_rate", "grad_norm"):
        if name in expected[0]:
            assert [r[name] for r in history] == pytest.approx([r[name] for r in expected], rel=1e-5), name
    actual, reference = weights(folder), weights(expected_folder)
    assert actual.keys() == reference.keys()
    for name, tensor in reference.items():
        torch.testing.assert_close(actual[name], tensor, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.slow
def test_two_sharded_processes_train_as_one_and_each_resumes_the_others(models, tmp_path):
    expected, jobs = {}, []
    for tied, method in CASES:
        name = f"{'tied' if tied else 'untied'}-{method}"
        one = tmp_path / name / "one"
        expected[name] = alone(models[tied], method, one)
        assert len(expected[name]) == STEPS
        half = tmp_path / name / "half"
        alone(models[tied], method, half, stop=STOP)
        job = {
            "model": str(models[tied]),
            "samples": [(sample.input_ids, sample.first_target) for sample in samples()],
            "settings": COMMON | {"method": method, "accumulation": 1},
        }
        checkpoint = str(half / "checkpoints" / f"checkpoint-{STOP}")
        jobs += [
            job | {"folder": str(tmp_path / name / "two")},
            job | {"folder": str(tmp_path / name / "stopped"), "stop_after": STOP},
            job | {"folder": str(tmp_path / name / "resumed by two"), "checkpoint": checkpoint},
        ]
    together(jobs, tmp_path)
    for tied, method in CASES:
        name = f"{'tied' if tied else 'untied'}-{method}"
        folder, whole = tmp_path / name, expected[name]
        assert_same(history_of(folder / "two"), folder / "two", whole, folder / "one")
        # A checkpoint of one process, resumed by two, and the other way round.
        resumed = folder / "resumed by two"
        assert_same(history_of(resumed), resumed, whole[STOP:], folder / "one")
        checkpoint = folder / "stopped" / "checkpoints" / f"checkpoint-{STOP}"
        rest = alone(models[tied], method, folder / "resumed by one", checkpoint)
        assert_same(rest, folder / "resumed by one", whole[STOP:], folder / "one")
