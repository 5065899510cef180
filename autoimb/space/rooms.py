"""All rooms of the search space, in the order of the data."""

from __future__ import annotations

from autoimb.space.class_weight import CLASS_WEIGHT
from autoimb.space.ensemble import ENSEMBLE
from autoimb.space.loss import LOSS
from autoimb.space.network.mlp import mlp
from autoimb.space.network.realmlp import realmlp
from autoimb.space.network.resnet import resnet
from autoimb.space.network.room import NETWORK
from autoimb.space.network.tabm import tabm
from autoimb.space.option import Room
from autoimb.space.resampling.at_random import none
from autoimb.space.resampling.batches import batch_balancing
from autoimb.space.resampling.cleaning import tomek_links
from autoimb.space.resampling.room import RESAMPLING
from autoimb.space.resampling.smote import smote
from autoimb.space.resampling.under import near_miss

__all__ = [
    "PLAIN",
    "ROOMS",
    "batch_balancing",
    "mlp",
    "near_miss",
    "none",
    "realmlp",
    "resnet",
    "smote",
    "tabm",
    "tomek_links",
]

ROOMS: dict[str, Room] = {
    room.name: room for room in (RESAMPLING, CLASS_WEIGHT, LOSS, ENSEMBLE, NETWORK)
}
# the option of each lever's room that does nothing
PLAIN = {
    "resampling": "none",
    "class_weight": "none",
    "loss": "cross_entropy",
    "ensemble": "single",
}
