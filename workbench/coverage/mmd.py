"""Maximum mean discrepancy: whether two sets of vectors look drawn from the same distribution.

Cluster shares see only how many rows a cluster keeps; this sees which ones, too. With a Gaussian kernel it
is zero only for equal distributions (Gretton et al., 2012). Random Fourier features (Rahimi and Recht, 2007)
turn it into a distance of two mean vectors, so that its cost is one pass over the rows and its parts can be
summed.
"""

import numpy as np

FREQUENCIES = 128  # the squared discrepancy is off by some 1 / sqrt(128) of itself


def frequencies(sample: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[d, FREQUENCIES] float32 of a Gaussian kernel; its width: the median distance in `sample` [s, d]."""
    squared = 2 - 2 * (sample @ sample.T)[np.triu_indices(len(sample), 1)]  # of unit vectors
    width = np.sqrt(max(float(np.median(squared)), 1e-4)) if len(squared) else 1.0
    return (rng.standard_normal((sample.shape[1], FREQUENCIES)) / width).astype(np.float32)


def features(vectors: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """[n, d] -> [n, 2 * FREQUENCIES] float32 whose inner products approach the kernel."""
    phase = vectors @ frequency
    return np.concatenate([np.cos(phase), np.sin(phase)], axis=1) / np.float32(np.sqrt(FREQUENCIES))


def discrepancy(mean_of_all: np.ndarray, mean_of_kept: np.ndarray) -> float:
    """Distance of two mean feature vectors: 0 for equal sets, at most sqrt(2)."""
    return float(np.linalg.norm(mean_of_all - mean_of_kept))
