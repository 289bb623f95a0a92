"""LoRA adapters: which base model they name, and merging them into it."""

import json
import warnings
from pathlib import Path

from ..core.errors import UserError

_CONFIG = "adapter_config.json"
_GENERATION_CONFIG = "generation_config.json"


def base_of(folder: Path) -> str | None:
    """Return the base model of the LoRA adapter in `folder`; None if the folder has no adapter.

    A path that is relative to the adapter's folder becomes absolute. Raises UserError if the adapter names no
    base, or one that is a path to nothing.
    """
    config = folder / _CONFIG
    if not config.exists():
        return None
    base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    where = f"{config}: base_model_name_or_path={base!r}"
    if not isinstance(base, str) or not base:
        raise UserError(f"{where} names no base model; write the name or folder of the base there.")
    if (folder / base).is_dir():
        return str((folder / base).resolve())
    is_path = Path(base).is_absolute() or base.startswith((".", "~"))
    if is_path and not Path(base).expanduser().is_dir():
        raise UserError(f"{where} is not a folder; write the name or folder of the base model there.")
    return base


def merge(model, folder: Path):
    """Return the base `model` with the adapter in `folder` merged in, and the generation config beside it.

    If the adapter contains embeddings with another number of rows (tokens were added to the vocabulary), the
    base is resized first. Raises UserError if the adapter does not fit the base.
    """
    from peft import PeftModel
    from transformers import GenerationConfig

    rows = _embedding_rows(model, folder)
    if rows and rows != model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(rows, mean_resizing=False)  # the adapter has the values of all rows
    if (folder / _GENERATION_CONFIG).exists():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    hide_warning_of_peft()
    try:
        return PeftModel.from_pretrained(model, folder).merge_and_unload()
    except (RuntimeError, ValueError) as error:
        if isinstance(error, RuntimeError) and "size mismatch" not in str(error):
            raise
        detail = str(error).strip().splitlines()[-1].strip()
        raise UserError(
            f"the adapter in {folder} does not fit its base model ({detail}); name the model that it was "
            f"trained on in {_CONFIG}."
        ) from None


def hide_warning_of_peft() -> None:
    """Ignore a warning that users cannot act on: peft reads a property that transformers deprecates."""
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)


def _embedding_rows(model, folder: Path) -> int | None:
    """Return the number of rows of the embeddings that the adapter contains; None if it contains none."""
    from safetensors import safe_open

    embeddings = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is embeddings)
    for file in folder.glob("adapter_model*.safetensors"):
        with safe_open(file, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 (not a dict)
                if key.endswith(f"{name}.weight") or key.endswith(f"{name}.modules_to_save.weight"):
                    return tensors.get_slice(key).get_shape()[0]
    return None
