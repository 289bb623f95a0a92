"""What the backward pass needs and the forward pass need not keep.

By default the results of matrix products and of attention are kept and all that lies between them (norms,
rotations, activations) is computed again: half of the memory for some percent of the time.
"""

from functools import partial

from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

_KEPT = ("mm", "attention", "attn")  # in the names of PyTorch's operators


def _policy(context, operator, *args, **kwargs) -> CheckpointPolicy:
    name = operator.name()
    # A product of matrices costs more than its result is large; anything else is read and written once.
    kept = any(part in name for part in _KEPT)
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


def enable(model, everything: bool = False) -> None:
    """Let each layer of `model` compute again what is cheap to, or `everything` but its input.

    The gradients stay as they are. A model whose layers cannot be computed again keeps all.
    """
    if not getattr(model, "supports_gradient_checkpointing", True):
        return
    options = {"use_reentrant": False}
    if not everything:
        options["context_fn"] = partial(create_selective_checkpoint_contexts, _policy)
    # The name from transformers 6 on, and the one before.
    switch = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    switch(options)
