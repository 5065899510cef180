"""The network component: one file a family, and one line for it here."""

from autoimb.space.network import mlp as mlp
from autoimb.space.network import realmlp as realmlp
from autoimb.space.network import resnet as resnet
from autoimb.space.network import tabm as tabm
