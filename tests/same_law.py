"""Whether two sets of draws have the same law."""

import numpy as np
from scipy.stats import ks_2samp

RUNS = 400


# Two hundred comparisons at this level fail once in a thousand suites if the laws agree.
LEVEL = 5e-6


def same_law(first, second):
    assert ks_2samp(np.ravel(first), np.ravel(second)).pvalue > LEVEL
