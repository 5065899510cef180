"""The network component: one module for each family of networks, imported here."""

from autoimb.space.network import mlp as mlp
from autoimb.space.network import realmlp as realmlp
from autoimb.space.network import resnet as resnet
from autoimb.space.network import tabm as tabm
