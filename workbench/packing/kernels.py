"""The compiled loops of packing, on integer arrays.

Import this module only where it is used: importing numba takes half a second, and the first call on a machine
compiles for a few seconds. The compiled code is cached beside this file, or in the user's cache folder if
that is read-only.

Rows are two arrays: `items`, the concatenated items of all rows, and `bounds` [n_rows + 1], where row r is
`items[bounds[r]:bounds[r + 1]]`. `sizes` are in tokens and indexed by item. `capacity` is in tokens.
"""

import numba
import numpy as np

_TRIES = 8  # first lengths tried for a gap as a sum of three; more tries close hardly any more gaps
_MORE_ROWS = 2  # balanced rows: numbers of rows tried beyond the smallest feasible one
_BLOCK = 64  # best fit: gap sizes that are skipped at once if no row has one of them


def _compiled(function):
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no writable folder for the compiled code
        return numba.njit(nogil=True)(function)


@_compiled
def counting_sort(items, keys, n_keys):
    """Sort `items`, a permutation of range(n), by `keys[item]`, ascending and stable, in linear time.

    Returns the sorted items and the start of each key among them [n_keys + 1].
    """
    starts = np.zeros(n_keys + 1, np.int64)
    for key in keys:
        starts[key + 1] += 1
    starts = np.cumsum(starts)
    free, ordered = starts[:-1].copy(), np.empty_like(items)
    for item in items:
        ordered[free[keys[item]]] = item
        free[keys[item]] += 1
    return ordered, starts


@_compiled
def in_order(items, batch_size, sizes, capacity):
    """Fill rows with the `items` of each batch in order; a new row starts when the next item does not fit.

    Returns the bounds of the rows, and the bounds of the batches, counted in rows.
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
def _replace_smallest(heap, key):
    """Replace the first, smallest, key of a binary heap by `key`."""
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
    """Put each item in turn into the row with the fewest tokens.

    Writes the row of each item into `row_of` and returns the largest load of a row, in tokens.
    """
    # Each key is load * n_rows + row, so the heap orders rows by load.
    heap, largest = np.arange(n_rows), np.int64(0)
    for at in range(len(items)):
        row = heap[0] % n_rows
        load = heap[0] // n_rows + sizes[items[at]]
        row_of[at] = row
        largest = max(largest, load)
        _replace_smallest(heap, load * n_rows + row)
    return largest


@_compiled
def _fewest_rows(items, sizes, capacity):
    """Return a lower bound on the rows, by tokens and by items that fill more than half a row."""
    tokens, halves = np.int64(0), 0
    for item in items:
        tokens += sizes[item]
        halves += 2 * sizes[item] > capacity
    return max(-(-tokens // capacity), halves)


@_compiled
def balance(items, batch_size, sizes, capacity):
    """Spread the `items` of each batch, sorted longest first, evenly over the number of rows that pads least.

    Returns the items by row, the bounds of the rows, and the bounds of the batches, counted in rows.
    """
    by_row, bounds, batches = np.empty_like(items), [0], [0]
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
            # Steps of one row for usual batches, and of growing size for a batch of thousands.
            n_rows = min(n_rows + 1 + n_rows // 64, len(batch)) if n_rows < len(batch) else n_rows + 1
        order, ends = counting_sort(np.arange(len(batch)).astype(np.int32), best[: len(batch)], best_rows)
        by_row[start : start + len(batch)] = batch[order]
        for end in ends[1:]:
            bounds.append(start + end)
        batches.append(len(bounds) - 1)
    return by_row, np.array(bounds), np.array(batches)


@_compiled
def _smallest_gap(with_gap, in_block, size):
    """Return the smallest gap of at least `size` tokens that some row has, or -1."""
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
    """Put each of `items` in turn into the fullest row in which it fits.

    Returns the row of each item and the number of rows.
    """
    # Rows with the same gap form a linked list: its head is in `with_gap`, the next rows are in `before`.
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
def _longer_of_two(left, gap, longest):
    """Return the longer of the two most similar lengths left that sum to `gap`, or 0 without such lengths."""
    for a in range((gap + 1) // 2, min(longest, gap - 1) + 1):
        b = gap - a
        if left[a] > 0 and left[b] > 0 and (a != b or left[a] > 1):
            return a
    return 0


@_compiled
def _closing(left, gap, longest):
    """Return up to three lengths that fill `gap` exactly, or else only `longest`, the longest that fits.

    `left[l]` counts the items of length l. Lengths near an equal share of the gap are tried first: they are
    the most common ones, so the search is short and rare lengths remain for gaps that only they fill.
    """
    if longest == gap:
        return gap, 0, 0
    a = _longer_of_two(left, gap, longest)
    if a:
        return a, gap - a, 0
    tries = 0
    for a in range((gap + 2) // 3, longest + 1):
        if left[a] == 0:
            continue
        left[a] -= 1
        b = _longer_of_two(left, gap - a, a)
        left[a] += 1
        if b:
            return a, b, gap - a - b
        tries += 1
        if tries == _TRIES:
            break
    return longest, 0, 0


@_compiled
def exact_fill(items, starts, capacity):
    """Fill rows to exactly `capacity` tokens wherever the lengths allow it.

    `items` are sorted by length; those of length l start at `starts[l]`. Each row takes the longest item left
    and then the items that close its gap. Returns the items by row and the bounds of the rows.
    """
    left, free = np.diff(starts), starts[:-1].copy()
    by_row, bounds = np.empty_like(items), np.zeros(len(items) + 1, np.int64)
    at, n_rows, longest = 0, 0, capacity
    while at < len(items):
        while left[longest] == 0:
            longest -= 1
        gap, taken = capacity, (longest, 0, 0)
        while taken[0]:
            for length in taken:
                if length:
                    by_row[at] = items[free[length]]
                    free[length] += 1
                    left[length] -= 1
                    gap -= length
                    at += 1
            fitting = min(gap, longest)
            while left[fitting] == 0 and fitting > 0:
                fitting -= 1
            taken = _closing(left, gap, fitting) if fitting else (0, 0, 0)
        n_rows += 1
        bounds[n_rows] = at
    return by_row, bounds[: n_rows + 1]


@_compiled
def reordered(items, bounds, order):
    """Permute the rows by `order`. Returns their items and bounds."""
    by_row, edges = np.empty_like(items), np.zeros_like(bounds)
    at = 0
    for r in range(len(order)):
        for i in range(bounds[order[r]], bounds[order[r] + 1]):
            by_row[at] = items[i]
            at += 1
        edges[r + 1] = at
    return by_row, edges
