"""Answers to HumanEval's tasks: seconds of this package's decoding and of transformers' `generate` on it.

    python tests/benchmarks/generation.py HumanEvalPlus-v0.1.10.jsonl.gz [--tasks 24] [--tokens 128]

Both write greedily with the model and the prompts of `evaluate`, in the same batches of tasks sorted by
length, up to so many tokens; `generate` as it comes, with stop strings given to it. Runs alternate; medians
are printed, and how many texts agree (sums are rounded differently in batches of other sizes).
"""

import argparse
import os
import statistics
import time

import torch


def ours(model, tokenizer, prompts, how, batch_size) -> list[str]:
    from workbench.evaluation.generation.decoding import write

    texts = [""] * len(prompts)
    for i, text, _ in write(model, tokenizer, prompts, [0] * len(prompts), how, batch_size):
        texts[i] = text
    return texts


@torch.inference_mode()
def plain(model, tokenizer, prompts, how, batch_size) -> list[str]:
    """transformers alone: left-padded batches, sorted by length."""
    order, texts = sorted(range(len(prompts)), key=lambda i: -len(prompts[i])), [""] * len(prompts)
    tokenizer.padding_side = "left"
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        batch = tokenizer.pad({"input_ids": [prompts[i] for i in some]}, return_tensors="pt")
        written = model.generate(
            **batch,
            max_new_tokens=how.max_new_tokens,
            do_sample=False,
            stop_strings=list(how.stop),
            tokenizer=tokenizer,
        )
        for i, row in zip(some, written[:, batch.input_ids.shape[1] :], strict=True):
            texts[i] = how.cut(tokenizer.decode(row, skip_special_tokens=True))
    return texts


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("file")
    options.add_argument("--model", default="smollm2-135m")
    options.add_argument("--dtype", default="auto")
    options.add_argument("--tasks", type=int, default=24)
    options.add_argument("--tokens", type=int, default=128)
    options.add_argument("--batch-size", type=int, default=24)
    options.add_argument("--repeats", type=int, default=3)
    options = options.parse_args()
    os.environ["HUMANEVAL_OVERRIDE_PATH"] = options.file
    from workbench.evaluation.generation.asking import asking
    from workbench.evaluation.generation.decoding import Decoding
    from workbench.evaluation.tasks import code_tasks
    from workbench.lm import models

    model, tokenizer = models.load_model(options.model, options.dtype)
    tasks = code_tasks("humaneval")
    texts = list(tasks.prompts.values())[: options.tasks]
    way = asking(tokenizer, "auto", None, tasks.stops)
    prompts, how = way.prompts(tokenizer, texts), Decoding(options.tokens, stop=way.stop)
    seconds, found = {"ours": [], "transformers": []}, {}
    for _ in range(options.repeats):
        for name, decode in (("ours", ours), ("transformers", plain)):
            started = time.perf_counter()
            found[name] = decode(model, tokenizer, prompts, how, options.batch_size)
            seconds[name].append(time.perf_counter() - started)
    tokens = sum(len(ids) for ids in tokenizer(found["ours"]).input_ids)
    same = sum(a == b for a, b in zip(*found.values(), strict=True))
    print(
        f"{options.model}, {model.dtype}, {len(prompts)} tasks, {tokens} tokens written, {same} texts agree"
    )
    for name, some in seconds.items():
        median = statistics.median(some)
        print(f"{name:14}{median:8.1f} s {tokens / median:8.0f} tokens/s")
    print(f"ratio {statistics.median(seconds['transformers']) / statistics.median(seconds['ours']):.2f}")


if __name__ == "__main__":
    main()
