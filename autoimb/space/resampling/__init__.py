"""The resampling component: one module for each kind of method, imported here."""
# ruff: noqa: I001  the order of the lines is the order of the options

from autoimb.space.resampling import random_sampling as random_sampling
from autoimb.space.resampling import batch_balancing as batch_balancing
from autoimb.space.resampling import smote as smote
from autoimb.space.resampling import cleaning as cleaning
from autoimb.space.resampling import cluster_centroids as cluster_centroids
from autoimb.space.resampling import samplers as samplers
