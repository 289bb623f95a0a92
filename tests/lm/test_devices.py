"""Which device and number format is chosen, on pretended GPUs: a T4 (no bfloat16) and A100s."""

import threading
from contextlib import suppress

import pytest
import torch
from gpus import A100, T4, pretend
from transformers import AutoModelForCausalLM

from workbench.complexity import scoring
from workbench.core.errors import UserError
from workbench.core.memory import PeakMemory, released_from_gpu
from workbench.lm import attention, devices, models


class Query:
    """What attention asks of a tensor on a GPU."""

    is_cuda, device = True, torch.device("cuda:0")

    def __init__(self, dtype: torch.dtype, head_size: int = 128):
        self.dtype, self.shape = dtype, (1, 8, 64, head_size)


@pytest.mark.parametrize(
    ("card", "scoring", "training"), [(T4, "float32", "float16"), (A100, "bfloat16", "bfloat16")]
)
def test_auto_is_the_fastest_exact_enough_format(monkeypatch, card, scoring, training):
    pretend(monkeypatch, card)
    assert devices.dtype_name("auto", "cuda") == scoring
    assert devices.dtype_name("auto", "cuda", training=True) == training
    assert devices.dtype_name("float32", "cuda", training=True) == "float32"


@pytest.mark.parametrize(
    ("card", "dtype", "kernel"),
    [
        (T4, torch.float16, False),
        (T4, torch.float32, False),
        (A100, torch.bfloat16, True),
        (A100, torch.float16, True),
        (A100, torch.float32, False),
    ],
)
def test_the_kernel_for_unequal_lengths_runs_where_it_can(monkeypatch, card, dtype, kernel):
    pretend(monkeypatch, card)
    monkeypatch.setattr(attention, "find_spec", lambda name: True)
    assert attention._has_varlen(Query(dtype)) == kernel
    assert not attention._has_varlen(Query(dtype, head_size=512))


def test_each_of_two_gpus_can_be_named(monkeypatch):
    pretend(monkeypatch, A100, count=2)
    assert [devices.pick_device(name) for name in ("auto", "cuda", "cuda:0", "cuda:1", "cpu")] == [
        *("cuda", "cuda", "cuda:0", "cuda:1", "cpu")
    ]
    message = r"device='cuda:2' is not present: PyTorch .* sees cpu, cuda:0, cuda:1 here"
    with pytest.raises(UserError, match=message):
        devices.pick_device("cuda:2")


def test_a_gpu_without_a_number_is_the_current_one(monkeypatch):
    current = pretend(monkeypatch, A100, count=2)
    assert devices.with_index("cuda") == "cuda:0"
    current.append(torch.device("cuda:1"))
    assert devices.with_index("cuda") == PeakMemory("cuda").device == "cuda:1"
    assert [devices.with_index(name) for name in ("cuda:0", "cpu", "mps")] == ["cuda:0", "cpu", "mps"]


@pytest.mark.parametrize(
    ("device", "placement"),
    [("cpu", None), ("cuda", {"": "cuda:0"}), ("cuda:1", {"": "cuda:1"}), ("auto", {"": "cuda:0"})],
)
@pytest.mark.parametrize("four_bit", [False, True])
def test_weights_are_read_straight_to_the_device(monkeypatch, toy_model_dir, device, placement, four_bit):
    pretend(monkeypatch, A100, count=2)
    loaded = AutoModelForCausalLM.from_pretrained(toy_model_dir("llama"))
    arguments = {}
    monkeypatch.setattr(
        AutoModelForCausalLM, "from_pretrained", lambda folder, **options: arguments.update(options) or loaded
    )
    models.load_model(toy_model_dir("llama"), "auto", device, four_bit=four_bit and device != "cpu")
    assert arguments.get("device_map") == placement
    assert ("quantization_config" in arguments) == (four_bit and device != "cpu")


def test_reading_weights_through_a_device_map_changes_nothing(monkeypatch, toy_model_dir):
    plain, _ = models.load_model(toy_model_dir("llama"), "float32", "cpu")
    monkeypatch.setattr(models, "_placement", lambda device: {"device_map": {"": "cpu"}})
    mapped, _ = models.load_model(toy_model_dir("llama"), "float32", "cpu")
    assert not mapped.training
    for name, weight in plain.state_dict().items():
        torch.testing.assert_close(mapped.state_dict()[name], weight, rtol=0, atol=0, msg=name)


class TestPrecision:
    """The number format in which float32 is multiplied is a setting of the process."""

    @pytest.fixture(autouse=True)
    def _restored(self):
        cuda, cpu = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
        before = cuda.fp32_precision, cpu.fp32_precision
        yield
        cuda.fp32_precision, cpu.fp32_precision = before

    def test_it_is_the_dtype_unless_float32_is_multiplied_in_less(self, monkeypatch):
        pretend(monkeypatch, A100)
        formats = ("float32", "bfloat16", "float16")
        assert [devices.precision(name, "cuda") for name in formats] == list(formats)
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        assert [devices.precision(name, "cuda") for name in formats] == ["tf32", "bfloat16", "float16"]
        assert devices.precision("float32", "cpu") == "float32"
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        assert devices.precision("float32", "cpu") == "bf16"
        pretend(monkeypatch, T4)
        assert devices.precision("float32", "cuda") == "float32"

    @pytest.mark.parametrize("error", [None, RuntimeError])
    def test_tf32_is_put_back_also_after_an_error(self, error):
        matmul = torch.backends.cuda.matmul
        before = matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
        with suppress(RuntimeError), devices.tf32(True):
            assert matmul.fp32_precision == "tf32"
            if error:
                raise error
        assert (matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision) == before
        assert matmul.allow_tf32 is False
        with devices.tf32(False):
            assert matmul.fp32_precision == before[0]

    def test_runs_side_by_side_leave_the_first_setting(self):
        matmul, inside, done = torch.backends.cuda.matmul, threading.Event(), threading.Event()
        before = matmul.fp32_precision

        def other_run():
            with devices.tf32(True):
                inside.set()
                done.wait()

        thread = threading.Thread(target=other_run)
        with devices.tf32(True):
            thread.start()
            inside.wait()
        assert matmul.fp32_precision == "tf32"  # the other run still needs it
        done.set()
        thread.join()
        assert matmul.fp32_precision == before

    def test_a_setting_of_the_user_stays(self):
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        with devices.tf32(True):
            pass
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"

    def test_scores_of_another_precision_are_not_reused(self, toy_model_dir, monkeypatch):
        from conftest import table

        loads, load = [], models.load_model
        monkeypatch.setattr(models, "load_model", lambda *args: loads.append(args) or load(*args))
        ds = table(["Add two numbers."], ["def add(a, b):\n    return a + b"])
        for setting, n_loads in [("none", 1), ("none", 1), ("bf16", 2), ("bf16", 2), ("none", 2)]:
            torch.backends.mkldnn.matmul.fp32_precision = setting
            scoring.score(ds, toy_model_dir("llama"), dtype="float32", device="cpu")
            assert len(loads) == n_loads


@pytest.mark.parametrize("error", [None, ValueError])
def test_memory_is_given_back_to_a_gpu_that_was_used(monkeypatch, error):
    released = []
    monkeypatch.setattr("workbench.core.memory.release", lambda: released.append(True))

    @released_from_gpu()
    def work():
        if error:
            raise error

    for used, times in [(False, 0), (True, 1)]:
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda used=used: used)
        with suppress(ValueError):
            work()
        assert len(released) == times
