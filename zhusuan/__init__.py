"""The API of ZhuSuan 0.3 for TensorFlow 2: Bayesian networks, distributions and variational estimators.

Written anew after the library of Shi et al. (2017), "ZhuSuan: A Library for Bayesian Deep Learning", arXiv 1709.05870.

    import zhusuan as zs

For code written for the original:

    original                                      here
    --------------------------------------------  ------------------------------------------------------------
    group_event_ndims= (0.3.0)                    group_ndims=
    zs.Normal("h", mean, logstd) (0.3.0)          zs.Normal("h", mean, logstd=logstd), or std=std
    @zs.reuse("model")                            variables live in Keras layers or a tf.Module outside
    zs.nvil(variance_normalization=True, decay=)  variance_normalization=zs.VarianceNormalization(decay)
    tf.set_random_seed(seed)                      zs.set_seed(seed)
    an int n_samples=1 that adds an axis          the same; n_samples=None adds none
"""

from zhusuan import distributions
from zhusuan.bayesian_net import (
    BayesianNet,
    Bernoulli,
    Categorical,
    Discrete,
    ExpConcrete,
    Normal,
    OnehotCategorical,
    OnehotDiscrete,
    StochasticTensor,
)
from zhusuan.estimators import VarianceNormalization, is_loglikelihood, iwae, nvil, rws, sgvb, vimco
from zhusuan.random import get_generator, set_generator, set_seed

__all__ = [
    "BayesianNet",
    "Bernoulli",
    "Categorical",
    "Discrete",
    "ExpConcrete",
    "Normal",
    "OnehotCategorical",
    "OnehotDiscrete",
    "StochasticTensor",
    "VarianceNormalization",
    "distributions",
    "get_generator",
    "is_loglikelihood",
    "iwae",
    "nvil",
    "rws",
    "set_generator",
    "set_seed",
    "sgvb",
    "vimco",
]
