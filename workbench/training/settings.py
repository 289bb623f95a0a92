"""All settings of a fine-tuning run."""

from dataclasses import dataclass, fields

from .. import packing
from ..core.errors import number, one_of, positive, seed_of, whole_number
from ..evaluation import quick
from ..lm.devices import DTYPES, check_device
from ..lm.prompts import TEMPLATES, TRAIN_ON

METHODS = ("full", "lora", "qlora")

# Our name -> the name in transformers. The 8-bit optimizers come from bitsandbytes and need CUDA; the paged
# one moves its state to host memory when the GPU is full.
OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adafactor": "adafactor",
    "adamw-8bit": "adamw_bnb_8bit",
    "paged-adamw-8bit": "paged_adamw_8bit",
}

# Those of transformers that need no parameters of their own and no evaluation.
SCHEDULERS = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial"),
    *("constant", "constant_with_warmup", "inverse_sqrt"),
)


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one fine-tuning run. The defaults of learning rate, scheduler, `max_length` and LoRA are
    those of the paper's released training code (arXiv 2504.12687, experimental setup).

    What is trained:

        method          "full": all weights; "lora": adapters on frozen weights; "qlora": adapters on weights
                        frozen in 4 bits (nf4 with double quantisation, CUDA only)
        lora_r, lora_alpha, lora_dropout
                        rank, scale and dropout of the adapters
        dtype           of matrix products; "auto" is bfloat16 if the hardware multiplies it natively, else
                        float16 with a scaled loss on NVIDIA GPUs and float32 elsewhere. With method="full",
                        weights stay float32
        tf32            multiply float32 in TF32 on NVIDIA GPUs from Ampere on; ignored elsewhere
        device          "cpu", "cuda", "cuda:1", ...; "auto" is a GPU if there is one

    Optimization:

        optimizer       "adamw"; "adafactor" has a fraction of AdamW's state; "adamw-8bit" a quarter and
                        "paged-adamw-8bit" also moves it to host memory when needed (both CUDA only)
        learning_rate, scheduler, warmup_steps, weight_decay
                        as in transformers. The scheduler is "linear", "cosine", "cosine_with_restarts",
                        "polynomial", "constant", "constant_with_warmup" or "inverse_sqrt"
        epochs          passes over the rows; each epoch has an order of its own
        max_steps       optimizer steps after which training ends, even within an epoch; None for no limit.
                        The learning rate is scheduled over the steps that are trained
        batch_size      samples in one forward pass
        accumulation    forward passes in one optimizer step
        seed            of shuffling, dropout and new adapters

    Samples:

        max_length      tokens of the longest sample and, except with strategy="flat", of a packed row
        overlong        what happens to longer samples: "truncate", "split" or "drop", as in `wb.pack`. A
                        piece of a split sample continues where the last one ended, without the prompt, and
                        each response token is predicted once
        strategy        how samples are packed into rows, as in `wb.pack`; "dynamic" is the paper's
        template        the instruction template; "auto" is the model's own
        train_on        which answers of a dialogue are targets: "last", the response, or "all", every
                        assistant turn after the first question, which needs a chat template. Rows without
                        earlier answers are the same in both. Evaluations measure the response alone
        leaky           let packed samples attend to each other, as the paper's released collator does; for
                        comparison only

    Memory:

        gradient_checkpointing
                        recompute whole layers in the backward pass. Without it, only cheap operations are
                        recomputed (norms, rotations, activations)

    Checkpoints, also written when the run is stopped; only the last one is kept:

        save_minutes    minutes between checkpoints, None for never. The interval grows if saving would take
                        more than a twentieth of the time
        save_steps      optimizer steps between checkpoints, in addition

    Evaluation during training; losses and weights are those of a run without it. Its time does not count in
    the history, but its memory does. Not supported with `workbench launch`.

        eval_steps      optimizer steps between evaluations; the last step is always evaluated. None for never
        eval_tasks      number of tasks for pass@1: always the same ones, one greedy answer each
        eval_twins      number of held-out rows with a column `check` for preference and margin over twins
                        (see `wb.twins`): always the same ones
        eval_benchmark  where the tasks come from: "held-out", i.e. held-out rows with a column `check`, or
                        "humaneval", "humaneval+", "mbpp" or "mbpp+"
        eval_max_new_tokens
                        tokens of the longest answer

    Raises UserError if a value is unknown or out of range.
    """

    method: str = "full"
    epochs: int = 1
    max_steps: int | None = None
    optimizer: str = "adamw"
    learning_rate: float = 5e-5
    scheduler: str = "cosine"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    batch_size: int = 16
    accumulation: int = 1
    max_length: int = 2048
    strategy: str = "dynamic"
    overlong: str = "truncate"
    template: str = "auto"
    train_on: str = "last"
    leaky: bool = False
    lora_r: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.1
    gradient_checkpointing: bool = False
    save_minutes: float | None = 20.0
    save_steps: int | None = None
    dtype: str = "auto"
    eval_steps: int | None = None
    eval_tasks: int = 0
    eval_twins: int = 0
    eval_benchmark: str = quick.HELD_OUT
    eval_max_new_tokens: int = 256
    tf32: bool = False
    device: str = "auto"
    seed: int = 0

    def __post_init__(self):
        one_of("method", self.method, METHODS)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("scheduler", self.scheduler, SCHEDULERS)
        one_of("strategy", self.strategy, packing.PACKERS)
        one_of("overlong", self.overlong, packing.OVERLONG)
        one_of("template", self.template, ("auto", "chat", *TEMPLATES))
        one_of("train_on", self.train_on, TRAIN_ON)
        one_of("dtype", self.dtype, DTYPES)
        one_of("eval_benchmark", self.eval_benchmark, quick.BENCHMARKS)
        check_device(self.device)
        seed_of(self.seed)
        for name in ("tf32", "leaky", "gradient_checkpointing"):
            one_of(name, getattr(self, name), (True, False))
        self._check_numbers()

    def _check_numbers(self) -> None:
        optional = ("max_steps", "save_steps", "eval_steps")
        optional = [name for name in optional if getattr(self, name) is not None]
        for name in ("epochs", "batch_size", "accumulation", "lora_r", *optional):
            positive(name, getattr(self, name))
        positive("max_length", self.max_length, most=packing.MOST_TOKENS)
        positive("eval_max_new_tokens", self.eval_max_new_tokens)
        for name in ("warmup_steps", "eval_tasks", "eval_twins"):
            whole_number(name, getattr(self, name))
        for name in ("learning_rate", "lora_alpha"):
            number(name, getattr(self, name), above=0)
        if self.save_minutes is not None:
            number("save_minutes", self.save_minutes, above=0, otherwise=", or None for never")
        number("weight_decay", self.weight_decay, least=0)
        number("lora_dropout", self.lora_dropout, least=0, below=1)


def settings_of(arguments: dict) -> TrainingSettings:
    """Return `TrainingSettings(**arguments)`. Raises UserError if a name is unknown."""
    for name in arguments:
        one_of("setting", name, [field.name for field in fields(TrainingSettings)])
    return TrainingSettings(**arguments)
