"""`PackedLM`: a causal language model as a module that maps a batch to its loss."""

import torch
from torch import nn
from transformers.modeling_outputs import CausalLMOutput

from . import cross_entropy
from .attention import is_packed
from .batching import Layout
from .prompts import IGNORE_INDEX

# Attributes of the model that Trainer and accelerate read to place, shard and tie it.
_EXPOSED = frozenset(
    [
        "config",
        "base_model_prefix",
        "_no_split_modules",
        "_keys_to_ignore_on_save",
        "get_input_embeddings",
        "get_output_embeddings",
        "tie_weights",
        "quantization_method",
        "is_loaded_in_4bit",
        "hf_device_map",
    ]
)


class PackedLM(nn.Module):
    """Wraps the causal language model `lm` (transformers, also under peft); `forward` returns the loss.

        with packed_attention(lm):
            PackedLM(lm)(**collate(rows)).loss.backward()

    Samples that share a row do not see each other, and the full logits are never held. Data parallelism,
    FSDP and Trainer can wrap this module like any other; no method of `lm` is replaced. Its output layer, if
    it is a plain `nn.Linear`, becomes a `LossHead`.

    The wrapper registers the parameters and submodules of `lm` under their own names, so that `state_dict()`,
    optimizers and checkpoints are those of `lm`, without a prefix.
    """

    def __init__(self, lm: nn.Module):
        super().__init__()
        for registry in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            self.__dict__[registry] = getattr(lm, registry)
        self.training = lm.training
        self.__dict__["lm"] = lm  # a plain attribute: as a submodule it would add a prefix
        cross_entropy.LossHead.adopt(lm.get_output_embeddings())

    def __getattr__(self, name: str):
        return getattr(self.lm, name) if name in _EXPOSED else super().__getattr__(name)

    def train(self, mode: bool = True) -> "PackedLM":
        self.lm.train(mode)
        self.training = mode
        return self

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        layout: Layout | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **inputs,
    ) -> CausalLMOutput:
        """The loss (nats per target, float32) of a batch from `collate`; all tensors are int64 [rows, width].

        With `num_items_in_batch`, the number of targets of a whole accumulation window, the summed loss is
        divided by that instead, so that it does not depend on how samples are spread over forward passes.

        A batch without a `layout` (from `collate_leaking`) uses the forward pass and loss of `lm`.
        """
        if layout is None:
            return self.lm(
                input_ids=input_ids, labels=labels, num_items_in_batch=num_items_in_batch, **inputs
            )
        hidden, targets = predicting_states(self.lm, input_ids, labels, layout, **inputs)
        n = len(targets) if num_items_in_batch is None else num_items_in_batch
        return CausalLMOutput(loss=cross_entropy.summed(self.lm.get_output_embeddings(), hidden, targets) / n)


def predicting_states(
    lm: nn.Module,
    input_ids: torch.Tensor,
    labels: torch.Tensor,
    layout: Layout,
    position_ids: torch.Tensor,
    previous: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states [n, d] that predict a target, and the targets [n], in the order of `labels`.

    `previous` (int64 [rows * width]) says which token each one follows, by default the one to its left.

    `lm` must be inside `packed_attention`; otherwise samples would see each other.
    """
    if not is_packed(lm):
        raise RuntimeError("a packed batch needs `with packed_attention(model)`")
    hidden = lm.get_decoder()(
        input_ids=input_ids, position_ids=position_ids, layout=layout, use_cache=False
    ).last_hidden_state
    labels = labels.flatten()
    (positions,) = (labels != IGNORE_INDEX).nonzero(as_tuple=True)
    before = positions - 1 if previous is None else previous[positions]
    return hidden.flatten(0, 1).index_select(0, before), labels[positions]
