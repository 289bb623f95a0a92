"""Time to generate answers to HumanEval: this package's decoding and transformers' `generate`.

    python tests/benchmarks/generation.py HumanEvalPlus-v0.1.10.jsonl.gz [--tasks 24] [--tokens 128]

Both decode greedily, with the model and prompts of `evaluate`, in the same batches of tasks sorted by length.
`generate` runs as it is, with stop strings. Runs alternate. Prints median seconds and how many texts agree:
sums are rounded differently in batches of other sizes.
"""

import argparse
import os
import statistics
import time

import torch


def ours(model, tokenizer, prompts, decoding, batch_size) -> list[str]:
    from workbench.evaluation.generation.decoding import generate_texts

    texts = [""] * len(prompts)
    for i, text, _ in generate_texts(model, tokenizer, prompts, [0] * len(prompts), decoding, batch_size):
        texts[i] = text
    return texts


@torch.inference_mode()
def plain(model, tokenizer, prompts, decoding, batch_size) -> list[str]:
    """transformers alone: left-padded batches, sorted by length."""
    order, texts = sorted(range(len(prompts)), key=lambda i: -len(prompts[i])), [""] * len(prompts)
    tokenizer.padding_side = "left"
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = tokenizer.pad({"input_ids": [prompts[i] for i in rows]}, return_tensors="pt")
        written = model.generate(
            **batch,
            max_new_tokens=decoding.max_new_tokens,
            do_sample=False,
            stop_strings=list(decoding.stop),
            tokenizer=tokenizer,
        )
        for i, row in zip(rows, written[:, batch.input_ids.shape[1] :], strict=True):
            texts[i] = decoding.cut(tokenizer.decode(row, skip_special_tokens=True))
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
    from workbench.evaluation.generation.decoding import Decoding
    from workbench.evaluation.generation.prompt_format import PromptFormat
    from workbench.evaluation.tasks import code_tasks
    from workbench.lm import models

    model, tokenizer = models.load_model(options.model, options.dtype)
    tasks = code_tasks("humaneval")
    texts = list(tasks.prompts.values())[: options.tasks]
    prompt_format = PromptFormat.resolve(tokenizer, "auto", None, tasks.stops)
    prompts = prompt_format.prompts(tokenizer, texts)
    decoding = Decoding(options.tokens, stop=prompt_format.stop)
    seconds, answers = {"ours": [], "transformers": []}, {}
    for _ in range(options.repeats):
        for name, decode in (("ours", ours), ("transformers", plain)):
            started = time.perf_counter()
            answers[name] = decode(model, tokenizer, prompts, decoding, options.batch_size)
            seconds[name].append(time.perf_counter() - started)
    tokens = sum(len(ids) for ids in tokenizer(answers["ours"]).input_ids)
    same = sum(a == b for a, b in zip(*answers.values(), strict=True))
    print(
        f"{options.model}, {model.dtype}, {len(prompts)} tasks, {tokens} tokens written, {same} texts agree"
    )
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:14}{median:8.1f} s {tokens / median:8.0f} tokens/s")
    print(f"ratio {statistics.median(seconds['transformers']) / statistics.median(seconds['ours']):.2f}")


if __name__ == "__main__":
    main()
