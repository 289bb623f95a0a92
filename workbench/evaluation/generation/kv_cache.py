"""Keys and values of texts in the making, without copying all of them for each new token."""

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 64  # tokens that a buffer has ahead when it is made


class _RoomyLayer(DynamicLayer):
    """transformers' layer lays old and new states end to end in a fresh tensor, token by token; on a CPU that
    was two fifths of the time of decoding. Here they are written into a buffer with room ahead."""

    _buffers = None

    def update(self, key_states, value_states, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        stop = start + key_states.shape[-2]
        if self._buffers is None or self._buffers[0].shape[-2] < stop:
            self._buffers = [_with_room(states, stop) for states in (key_states, value_states)]
            if start:
                self._buffers[0][..., :start, :] = self.keys
                self._buffers[1][..., :start, :] = self.values
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., start:stop, :] = states
        self.keys, self.values = (buffer[..., :stop, :] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        super().batch_select_indices(indices)
        self._buffers = None  # the next token makes smaller ones

    def reset(self) -> None:
        super().reset()
        self._buffers = None


def _with_room(states: torch.Tensor, stop: int) -> torch.Tensor:
    rows, heads, _, size = states.shape
    return states.new_empty(rows, heads, stop + _ROOM, size)


def kv_cache(config) -> DynamicCache:
    """transformers' cache for a model with this `config`, with buffers in its plain layers."""
    cache = DynamicCache(config=config)
    cache.layers = [_RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
