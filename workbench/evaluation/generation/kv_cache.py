"""A cache of keys and values that does not copy them all for each new token."""

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_SPARE = 64  # tokens of free space in a new buffer


class _BufferedLayer(DynamicLayer):
    """Writes new states into a buffer with free space.

    transformers' own layer concatenates old and new states for each token, which took two fifths of the
    decoding time on a CPU.
    """

    _buffers = None

    def update(self, key_states, value_states, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        stop = start + key_states.shape[-2]
        if self._buffers is None or self._buffers[0].shape[-2] < stop:
            self._buffers = [_buffer(states, stop) for states in (key_states, value_states)]
            if start:
                self._buffers[0][..., :start, :] = self.keys
                self._buffers[1][..., :start, :] = self.values
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., start:stop, :] = states
        self.keys, self.values = (buffer[..., :stop, :] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        super().batch_select_indices(indices)
        self._buffers = None  # the next token allocates smaller ones

    def reset(self) -> None:
        super().reset()
        self._buffers = None


def _buffer(states: torch.Tensor, stop: int) -> torch.Tensor:
    rows, heads, _, size = states.shape
    return states.new_empty(rows, heads, stop + _SPARE, size)


def kv_cache(config) -> DynamicCache:
    """transformers' cache for a model with this `config`; its plain layers are buffered."""
    cache = DynamicCache(config=config)
    cache.layers = [_BufferedLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
