"""The loops of packing, compiled. Integers in, integers out.

Imported where they are called: numba takes half a second to import, and the first call ever compiles, which
takes some seconds. What is compiled is kept beside this file, or in the user's cache where that is read-only.

Rows are a pair of arrays: `items`, those of all rows end to end, and `bounds` [rows + 1], row r being
`items[bounds[r]:bounds[r + 1]]`. `sizes` are in tokens and indexed by item.
"""

import numba
import numpy as np

_TRIES = 8  # first lengths tried before a gap is given up as a sum of three; more hardly find more
_MORE_ROWS = 2  # than the fewest that do: what is tried for balanced rows
_BLOCK = 64  # gaps that are skipped at once where no row has one of them


def _compiled(function):
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder to keep it in
        return numba.njit(nogil=True)(function)


@_compiled
def counting_sort(items, keys, n_keys):
    """`items`, all of them in some order, by `keys[item]`, ascending and stable; and where each key starts
    [n_keys + 1]. Linear."""
    starts = np.zeros(n_keys + 1, np.int64)
    for key in keys:
        starts[key + 1] += 1
    starts = np.cumsum(starts)
    free, found = starts[:-1].copy(), np.empty_like(items)
    for item in items:
        found[free[keys[item]]] = item
        free[keys[item]] += 1
    return found, starts


@_compiled
def in_order(items, batch_size, sizes, capacity):
    """The `items` of each batch as they come; a row closes when the next would overfill it.

    Returns the bounds of the rows, and those of the batches, counted in rows.
    """
    bounds, batches = [0], [0]
    used = 0
    for at in range(len(items)):
        new = at % batch_size == 0
        if (new and at) or used + sizes[items[at]] > capacity:
            bounds.append(at)
            used = 0
        if new and at:
            batches.append(len(bounds) - 1)
        used += sizes[items[at]]
    if len(items):
        bounds.append(len(items))
        batches.append(len(bounds) - 1)
    return np.array(bounds), np.array(batches)


@_compiled
def _replace_first(heap, key):
    at = 0
    while 2 * at + 1 < len(heap):
        below = 2 * at + 1
        if below + 1 < len(heap) and heap[below + 1] < heap[below]:
            below += 1
        if heap[below] >= key:
            break
        heap[at] = heap[below]
        at = below
    heap[at] = key


@_compiled
def _into_least_loaded(items, sizes, n_rows, row_of):
    """Each item in turn into the row that holds least; writes `row_of` and returns the largest load."""
    heap, most = np.arange(n_rows), np.int64(0)  # load * n_rows + row; a heap, so the first is the smallest
    for at in range(len(items)):
        row = heap[0] % n_rows
        load = heap[0] // n_rows + sizes[items[at]]
        row_of[at] = row
        most = max(most, load)
        _replace_first(heap, load * n_rows + row)
    return most


@_compiled
def _fewest_rows(items, sizes, capacity):
    """A bound from below: by tokens, and because two items of more than half a row never share one."""
    tokens, halves = np.int64(0), 0
    for item in items:
        tokens += sizes[item]
        halves += 2 * sizes[item] > capacity
    return max(-(-tokens // capacity), halves)


@_compiled
def balance(items, batch_size, sizes, capacity):
    """The `items` of each batch, longest first, spread evenly over as many rows as leave least padding.

    Returns the items by rows, the bounds of the rows, and those of the batches, counted in rows.
    """
    found, bounds, batches = np.empty_like(items), [0], [0]
    row_of, best = np.empty(batch_size, np.int32), np.empty(batch_size, np.int32)
    for start in range(0, len(items), batch_size):
        batch = items[start : start + batch_size]
        n_rows, most_rows = _fewest_rows(batch, sizes, capacity), len(batch)
        computed, best_rows = np.int64(0), 0
        while n_rows <= most_rows:
            longest = _into_least_loaded(batch, sizes, n_rows, row_of)
            if longest <= capacity and (best_rows == 0 or n_rows * longest < computed):
                if best_rows == 0:
                    most_rows = min(n_rows + _MORE_ROWS, most_rows)
                computed, best_rows = n_rows * longest, n_rows
                best[:] = row_of
            # By single rows for usual batches; in growing steps for a batch of thousands.
            n_rows = min(n_rows + 1 + n_rows // 64, len(batch)) if n_rows < len(batch) else n_rows + 1
        order, ends = counting_sort(np.arange(len(batch)).astype(np.int32), best[: len(batch)], best_rows)
        found[start : start + len(batch)] = batch[order]
        for end in ends[1:]:
            bounds.append(start + end)
        batches.append(len(bounds) - 1)
    return found, np.array(bounds), np.array(batches)


@_compiled
def _smallest_gap(with_gap, in_block, size):
    """The smallest gap of at least `size` that some row has, or -1."""
    gap = size
    while gap < len(with_gap):
        if gap % _BLOCK == 0 and in_block[gap // _BLOCK] == 0:
            gap += _BLOCK
        elif with_gap[gap] >= 0:
            return gap
        else:
            gap += 1
    return -1


@_compiled
def best_fit(items, sizes, capacity):
    """Each of `items` in turn into the fullest row that still takes it.

    Returns the row of each item, and how many rows there are.
    """
    # Rows of the same gap are a chain: the latest one in `with_gap`, the one before it in `before`.
    with_gap, before = np.full(capacity + 1, -1), np.empty(len(items), np.int64)
    in_block, row_of, n_rows = np.zeros(capacity // _BLOCK + 1, np.int64), np.empty(len(sizes), np.int32), 0
    for item in items:
        gap = _smallest_gap(with_gap, in_block, sizes[item])
        if gap < 0:
            gap, row = capacity, n_rows
            n_rows += 1
        else:
            row = with_gap[gap]
            with_gap[gap] = before[row]
            in_block[gap // _BLOCK] -= 1
        row_of[item] = row
        gap -= sizes[item]
        before[row] = with_gap[gap]
        with_gap[gap] = row
        in_block[gap // _BLOCK] += 1
    return row_of, n_rows


@_compiled
def _two(left, gap, most):
    """The longer of two lengths that sum to `gap`, as equal as there are any, or 0."""
    for a in range((gap + 1) // 2, min(most, gap - 1) + 1):
        b = gap - a
        if left[a] > 0 and left[b] > 0 and (a != b or left[a] > 1):
            return a
    return 0


@_compiled
def _closing(left, gap, most):
    """Up to three lengths, each at most `most`, that fill `gap` exactly; else the longest that fits.

    Lengths near an equal share of the gap are tried first: they are the most common ones left, so that the
    search is short, and the rare ones stay for gaps that only they fill.
    """
    if most == gap:
        return gap, 0, 0
    a = _two(left, gap, most)
    if a:
        return a, gap - a, 0
    tries = 0
    for a in range((gap + 2) // 3, most + 1):
        if left[a] == 0:
            continue
        left[a] -= 1
        b = _two(left, gap - a, a)
        left[a] += 1
        if b:
            return a, b, gap - a - b
        tries += 1
        if tries == _TRIES:
            break
    return most, 0, 0


@_compiled
def exact_fill(items, starts, capacity):
    """Rows that are full to the token wherever the lengths allow it.

    `items` by length, those of length l from `starts[l]` on. Each row takes the longest item left and closes
    its gap. Returns the items by rows and the bounds of the rows.
    """
    left, free = np.diff(starts), starts[:-1].copy()
    found, bounds = np.empty_like(items), np.zeros(len(items) + 1, np.int64)
    at, n_rows, longest = 0, 0, capacity
    while at < len(items):
        while left[longest] == 0:
            longest -= 1
        gap, taken = capacity, (longest, 0, 0)
        while taken[0]:
            for length in taken:
                if length:
                    found[at] = items[free[length]]
                    free[length] += 1
                    left[length] -= 1
                    gap -= length
                    at += 1
            most = min(gap, longest)
            while left[most] == 0 and most > 0:
                most -= 1
            taken = _closing(left, gap, most) if most else (0, 0, 0)
        n_rows += 1
        bounds[n_rows] = at
    return found, bounds[: n_rows + 1]


@_compiled
def reordered(items, bounds, order):
    """Rows in another `order`: their items and bounds."""
    found, edges = np.empty_like(items), np.zeros_like(bounds)
    at = 0
    for r in range(len(order)):
        for i in range(bounds[order[r]], bounds[order[r] + 1]):
            found[at] = items[i]
            at += 1
        edges[r + 1] = at
    return found, edges
