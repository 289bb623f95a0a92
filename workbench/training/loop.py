"""The training loop: Hugging Face's Trainer over the batches of a `Schedule`, in the calling thread."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from torch.utils.data import Dataset, SequentialSampler
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from ..core.errors import UserError
from ..core.memory import PeakMemory, release
from ..lm import chat, models, sharding
from ..lm.attention import packed_attention
from ..lm.devices import autocast, dtype_name, has_tf32, pick_device, tf32, with_index
from ..lm.mode import batch_mode
from ..lm.packed import PackedLM
from ..lm.prompts import Sample, resolve_template
from . import checkpoints, processes, trainable
from .quality import Quality
from .schedule import Collator, Rounds, Schedule
from .settings import OPTIMIZERS, TrainingSettings


class _PlanTrainer(Trainer):
    """Train a `PackedLM` on batches in the planned order, with checkpoints of the model inside it."""

    def _get_train_sampler(self, train_dataset=None):
        return SequentialSampler(self.train_dataset)

    @contextmanager
    def _unwrapped(self) -> Iterator[None]:
        wrapper, self.model = self.model, self.model.lm
        try:
            yield
        finally:
            self.model = wrapper

    def _save_checkpoint(self, model, trial):
        with self._unwrapped():
            super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if self.is_fsdp_enabled:  # sharded already, see `load_weights`
            return
        with self._unwrapped():
            super()._load_from_checkpoint(resume_from_checkpoint, self.model)

    def load_weights(self, checkpoint: str) -> None:
        """Load the weights of `checkpoint` before they are sharded, if they will be."""
        sharded, self.is_fsdp_enabled = self.is_fsdp_enabled, False
        if sharded:
            self._load_from_checkpoint(checkpoint)
        self.is_fsdp_enabled = sharded

    # The files of a sharded training are those of one process: either can resume from the other's.

    def _save_optimizer_and_scheduler(self, output_dir):
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state = sharding.whole(self.optimizer.state_dict(), keep=self.args.should_save)
        if self.args.should_save:
            torch.save(state, Path(output_dir) / "optimizer.pt")
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

    def _load_optimizer_and_scheduler(self, checkpoint):
        if not self.is_fsdp_enabled or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        states = [
            torch.load(Path(checkpoint) / name, map_location="cpu", weights_only=True)
            for name in ("optimizer.pt", "scheduler.pt")
        ]
        self.optimizer.load_state_dict(sharding.shard_state(states[0], self.optimizer))
        self.lr_scheduler.load_state_dict(states[1])

    def save_model(self, output_dir=None, _internal_call=False):
        trainable.save(self.model, output_dir, self.args.should_save)


class _Reporter(TrainerCallback):
    """Write history records, seal checkpoints, and stop training with a checkpoint when requested."""

    def __init__(self, schedule, settings, memory, on_record, on_pass, should_stop, measure):
        self.schedule, self.settings, self.memory = schedule, settings, memory
        self.on_record, self.on_pass = on_record, on_pass
        self.should_stop, self.measure = should_stop, measure
        self.stopped = False

    def on_train_begin(self, args, state, control, **kwargs):
        self.started = self.saved = time.perf_counter()
        self.save_seconds = 0.0
        self.step = state.global_step
        self.processes = args.world_size
        self.tokens = self.tokens_before = self.schedule.tokens(0, self.passes(self.step))

    def passes(self, steps: int) -> int:
        """Return the number of scheduled batches in the first `steps` optimizer steps."""
        return steps * self.settings.accumulation * self.processes

    def on_step_begin(self, args, state, control, **kwargs):
        self.passes_of_step = 0
        self.on_pass(state.global_step, state.max_steps)

    def on_substep_end(self, args, state, control, **kwargs):
        self.passes_of_step += 1
        self.on_pass(state.global_step + self.passes_of_step / self.settings.accumulation, state.max_steps)

    def on_step_end(self, args, state, control, **kwargs):
        self.step_ended = time.perf_counter()
        if self.should_stop() and state.global_step < state.max_steps:
            self.stopped = control.should_training_stop = control.should_save = True
        elif processes.any_process(self._is_due()) and state.global_step < state.max_steps:
            control.should_save = True

    def _is_due(self) -> bool:
        if self.settings.save_minutes is None:
            return False
        # Saving a large model to a slow disk takes at most a twentieth of the time.
        interval = max(60 * self.settings.save_minutes, 20 * self.save_seconds)
        return self.step_ended - self.saved >= interval

    def on_save(self, args, state, control, **kwargs):
        processes.barrier()  # all processes have written their part
        if state.is_world_process_zero:
            checkpoints.seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        self.saved = time.perf_counter()
        self.save_seconds = self.saved - self.step_ended

    def on_log(self, args, state, control, logs, **kwargs):
        if "loss" not in logs:
            return  # the final summary of the Trainer
        self._check_finite("the loss", logs["loss"], state.global_step)
        if not args.fp16:  # the gradient scaler of fp16 skips such a step
            self._check_finite("the norm of the gradient", logs.get("grad_norm", 0.0), state.global_step)
        self.tokens += self.schedule.tokens(self.passes(self.step), self.passes(state.global_step))
        self.step = state.global_step
        seconds = time.perf_counter() - self.started
        record = {
            "step": state.global_step,
            "of": state.max_steps,
            "loss": float(logs["loss"]),
            "learning_rate": logs["learning_rate"],
            "tokens": self.tokens,
            "seconds": round(seconds, 3),
            "tokens_per_second": round((self.tokens - self.tokens_before) / seconds, 1),
            "peak_memory_mib": round(self.memory.update() - self.memory.start_mib),
        }
        self.on_record(record | self._measured(state))

    def _measured(self, state) -> dict:
        """Evaluate after this step; the evaluation does not count as training time."""
        started = time.perf_counter()
        scores = {} if self.stopped else self.measure(state.global_step, state.max_steps)
        pause = time.perf_counter() - started
        self.started += pause
        self.step_ended += pause
        return scores

    def _check_finite(self, name: str, value: float, step: int) -> None:
        if not math.isfinite(float(value)):
            raise FloatingPointError(
                f"{name} is {value} at step {step}; try a lower learning_rate than "
                f"{self.settings.learning_rate:g}, or dtype='float32'."
            )


def _arguments(folder: Path, settings: TrainingSettings, device: str) -> TrainingArguments:
    dtype = dtype_name(settings.dtype, device, training=True)
    is_sharded = sharding.is_sharded(device)
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,  # each scheduled item is a batch
        gradient_accumulation_steps=settings.accumulation,
        num_train_epochs=1,  # the schedule contains all epochs
        optim=OPTIMIZERS[settings.optimizer],
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        bf16=dtype == "bfloat16",
        fp16=dtype == "float16",
        use_cpu=device == "cpu",
        fsdp=True if is_sharded else None,
        fsdp_config=dict(sharding.FSDP_CONFIG) if is_sharded else None,
        # Full tuning uses every weight in every step; peft may leave some without a gradient.
        ddp_find_unused_parameters=settings.method != "full",
        logging_steps=1,
        logging_nan_inf_filter=False,  # the filter would log a NaN loss as 0
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or 500,
        seed=settings.seed,
        remove_unused_columns=False,
        dataloader_pin_memory=device != "cpu",
        disable_tqdm=True,
        report_to=[],
    )
    if arguments.world_size == 1 and arguments.n_gpu:
        arguments._n_gpu = 1  # a second GPU would enable DataParallel
        _place(arguments, torch.device(device))
    return arguments


def _place(arguments: TrainingArguments, device: torch.device) -> None:
    """Make the Trainer and accelerate train on `device`; by themselves they take the first GPU."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    vars(arguments)["_setup_devices"] = device  # the cached value of `arguments.device`
    PartialState().device = device


def _current(device: str) -> AbstractContextManager:
    """The context in which `device` is the current GPU of this thread; afterwards the previous one is."""
    return torch.cuda.device(device) if device.startswith("cuda") else nullcontext()


@dataclass(frozen=True)
class Ready:
    """A training that has not started yet.

    `model` is the loaded model without an adapter's wrapper, and `attention` its attention implementation as
    loaded. `autocast()` is the context in which the loss is computed; `memory` measures the peak since before
    the model was loaded.
    """

    trainer: Trainer
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    attention: str
    autocast: Callable[[], AbstractContextManager]
    memory: PeakMemory


@contextmanager
def set_up(model_name: str, batches: Dataset, settings: TrainingSettings, folder: Path) -> Iterator[Ready]:
    """Set up a training of `model_name` on `batches` (rows of samples), with checkpoints in `folder`.

    Raises UserError if `settings.strategy` packs samples and the model cannot keep them apart.
    """
    set_seed(settings.seed)
    device = with_index(pick_device(settings.device))
    dtype = dtype_name(settings.dtype, device, training=True)
    release()  # what an earlier training left free would count as held before this one
    with (
        _current(device),
        PeakMemory(device) as memory,
        tf32(settings.tf32 and has_tf32(device)),
        models.quiet(),
    ):
        base, tokenizer = trainable.load_base(model_name, settings, device)
        if resolve_template(tokenizer, settings.template) == "chat":
            chat.stop_at_turn_end(base, tokenizer)
        isolated = not settings.leaky and _isolates(base, model_name, settings, autocast(dtype, device))
        model = base if settings.method == "full" else trainable.with_adapter(base, model_name, settings)
        trainable.recompute(model, everything=settings.gradient_checkpointing)
        pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        attention = base.config._attn_implementation
        with packed_attention(base) if isolated else nullcontext():
            arguments = _arguments(folder, settings, device)
            trainer = _PlanTrainer(
                model=PackedLM(model),
                args=arguments,
                train_dataset=Rounds(batches, arguments.world_size),
                data_collator=Collator(pad_id, settings, isolated),
            )
            if trainer.is_fsdp_enabled:
                plugin = trainer.accelerator.state.fsdp_plugin
                plugin.mixed_precision_policy = sharding.mixed_precision(dtype)
            trainer.model_accepts_loss_kwargs = True  # divides the loss by the tokens of the whole step
            trainer.remove_callback(PrinterCallback)
            yield Ready(trainer, base, tokenizer, attention, partial(autocast, dtype, device), memory)


def _isolates(model, name: str, settings: TrainingSettings, precision: AbstractContextManager) -> bool:
    """Whether packed samples do not see each other, in the `precision` (an autocast) of the training.

    Raises UserError if they do and `settings.strategy` packs samples.
    """
    with precision:
        mode = batch_mode(model, training=True)
    if mode.name != "packed" and settings.strategy not in ("max", "pad"):
        raise UserError(
            f"model={name!r} ({type(model).__name__}) cannot train on packed samples ({mode.reason}); "
            f"use strategy='pad' instead of {settings.strategy!r}."
        )
    return mode.name == "packed"


def train(
    model_name: str,
    samples: list[Sample],
    settings: TrainingSettings,
    folder: Path,
    *,
    on_record: Callable[[dict], None],
    on_pass: Callable[[float, int], None] = lambda done, of: None,
    should_stop: Callable[[], bool],
    checkpoint: Path | None = None,
    quality: Quality | None = None,
) -> dict:
    """Train `model_name` on `samples`, write the weights or the adapter to `folder/model`, return a summary.

    Training starts from `checkpoint`, if given. After each optimizer step, `on_record` receives a record,
    including the scores that `quality` measures. Before each forward pass, `on_pass` receives the optimizer
    steps done, a fraction within a step of several passes, and their total. Once `should_stop()` is true, a
    checkpoint is written to `folder/checkpoints` and training ends.

    Raises FloatingPointError if the loss or the norm of the gradient is not finite.
    """
    schedule = Schedule(samples, settings)
    with set_up(model_name, schedule, settings, folder / "checkpoints") as ready:

        def measure(step: int, last: int) -> dict:
            if quality is None or not quality.is_due(step, last):
                return {}
            with ready.autocast():
                return quality.measure(ready.model, ready.tokenizer, ready.attention)

        trainer, memory = ready.trainer, ready.memory
        reporter = _Reporter(schedule, settings, memory, on_record, on_pass, should_stop, measure)
        trainer.add_callback(reporter)
        if checkpoint:
            trainer.load_weights(str(checkpoint))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        seconds = time.perf_counter() - reporter.started
    checkpoints.save_model(trainer, ready.tokenizer, folder / "model")
    return {
        "stopped": reporter.stopped,
        "steps": trainer.state.global_step,
        "seconds": round(seconds, 2),
        "padding_rate": schedule.padding_rate,
        "memory_before_mib": round(memory.start_mib),
        "peak_memory_mib": round(memory.own_mib),
    }
