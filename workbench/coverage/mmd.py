"""Maximum mean discrepancy (MMD): the distance between the distributions of two sets of vectors.

Shares of clusters only show how many rows of a cluster are kept; the MMD also shows which ones. With a
Gaussian kernel k(x, y) = exp(-|x - y|^2 / (2 w^2)) it is 0 only for equal distributions (Gretton et al.,
2012):

    MMD^2 = mean k(a, a') - 2 mean k(a, b) + mean k(b, b')    for a, a' in all rows and b, b' in the kept rows

Random Fourier features z with z(x) . z(y) ~ k(x, y) (Rahimi and Recht, 2007) turn it into the distance
between two mean vectors, |mean z(a) - mean z(b)|. It then costs one pass over the rows, and its sums can be
updated.
"""

import numpy as np

FREQUENCIES = 128  # the relative error of the squared discrepancy is about 1 / sqrt(128)


def frequencies(sample: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the frequencies of a Gaussian kernel, float32 [d, FREQUENCIES].

    The width w of the kernel is the median distance between the unit vectors `sample`, float32 [s, d].
    """
    squared = 2 - 2 * (sample @ sample.T)[np.triu_indices(len(sample), 1)]  # distances of unit vectors
    width = np.sqrt(max(float(np.median(squared)), 1e-4)) if len(squared) else 1.0
    return (rng.standard_normal((sample.shape[1], FREQUENCIES)) / width).astype(np.float32)


def features(vectors: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Map vectors [n, d] to random Fourier features, float32 [n, 2 * FREQUENCIES].

    The inner product of two rows approximates the kernel.
    """
    phase = vectors @ frequency
    return np.concatenate([np.cos(phase), np.sin(phase)], axis=1) / np.float32(np.sqrt(FREQUENCIES))


def discrepancy(mean_of_all: np.ndarray, mean_of_kept: np.ndarray) -> float:
    """Return the distance between two mean feature vectors [2 * FREQUENCIES].

    It has no unit and ranges from 0 for equal sets to sqrt(2), up to the error of the approximation.
    """
    return float(np.linalg.norm(mean_of_all - mean_of_kept))
