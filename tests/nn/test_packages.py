"""Whole networks have the outputs and gradients of the packages that published them.

From the same weights, to 1e-5: ``tabm``, ``pytabkit`` (RealMLP with PBLD and embedded categories,
the residual network) and ``rtdl_num_embeddings`` (PLE).
"""

import warnings

import numpy as np
import pytest
import rtdl_num_embeddings
import tabm
import torch
from torch import nn

from autoimb.data.encoding.encoder import Encoder
from autoimb.nn.spec import EXPANSION
from tests.support.small_networks import BATCH, NUMBERS, drawn, logits_of, pool_of, some_rows, spec
from tests.support.tables import dataset_of, mixed_table

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what compiles pytabkit's activations
    from pytabkit.models.data.data import DictDataset, TensorInfo
    from pytabkit.models.nn_models import rtdl_resnet
    from pytabkit.models.nn_models.models import NNFactory
    from pytabkit.models.sklearn.default_params import DefaultParams


def torch_copy(tensor, *, like):
    with torch.no_grad():
        like.copy_(tensor.reshape(like.shape))


def compared(network, outputs, places, x, codes=None):
    """Load a member's weights into a module; compare its outputs and gradients to 1e-5."""
    for name, parameter, turn in places:
        torch_copy(turn(network.parameters.value(name)[0].detach()), like=parameter)
    logits = logits_of(network, x, codes, pool_of(network))[0]
    expected = outputs()
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    upstream = torch.from_numpy(np.random.default_rng(2).normal(size=expected.shape))
    expected.backward(upstream)
    network.backward(upstream.permute(1, 2, 0)[None].clone())
    for name, parameter, turn in places:
        gradient = turn(network.parameters.gradient(name)[0]).reshape(parameter.shape)
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-5, atol=1e-5, msg=name)


def same(values):
    return values


def turned(values):
    return values.mT


def test_tabm_is_that_of_its_package():
    network = drawn(spec("plain", k=4), members=1, training=True)
    module = tabm.TabM.make(
        n_num_features=5, d_out=3, n_blocks=2, d_block=8, dropout=0.0, k=4, arch_type="tabm-mini"
    ).double()
    places = [
        ("hidden0.scale", module.backbone.affine.weight, turned),
        ("heads.weight", module.output.weight, turned),
        ("heads.bias", module.output.bias, same),
    ]
    for i, block in enumerate(module.backbone.blocks):
        places.append((f"hidden{i}.weight", block[0].weight, turned))
        places.append((f"hidden{i}.bias", block[0].bias, same))
    x, _ = some_rows(network.spec, members=1)
    compared(network, lambda: module(x[0]), places, x)


@pytest.mark.parametrize("activation", ["relu", "selu"])
def test_resnet_is_that_of_its_package(activation):
    """With the norm of a row, which the package offers beside that of a batch."""
    network = drawn(spec("residual", activation=activation), members=1, training=True)
    module = rtdl_resnet.ResNet(
        d_in=5,
        categories=None,
        d_embedding=2,
        d=8,
        d_hidden_factor=EXPANSION,
        n_layers=2,
        activation=activation,
        normalization="layernorm",
        hidden_dropout=0.0,
        residual_dropout=0.0,
        d_out=3,
        regression=False,
        categorical_indicator=None,
    ).double()
    layers = {"hidden0": module.first_layer, "heads": module.head}
    layers["norm"] = module.last_normalization
    for i, block in enumerate(module.layers):
        layers |= {f"block{i}.norm": block["norm"], f"block{i}.inner": block["linear0"]}
        layers[f"block{i}.outer"] = block["linear1"]
    places = []
    for name, layer in layers.items():
        if isinstance(layer, nn.LayerNorm):
            places.append((f"{name}.scale", layer.weight, same))
            places.append((f"{name}.shift", layer.bias, same))
        else:
            turn = same if name == "heads" else turned
            places.append((f"{name}.weight", layer.weight, turn))
            places.append((f"{name}.bias", layer.bias, same))
    x, _ = some_rows(network.spec, members=1)
    compared(network, lambda: module(x[0])[:, None], places, x)


@pytest.mark.parametrize("activation", ["selu", "silu", "relu"])
@pytest.mark.parametrize("periodic", [0, NUMBERS])
def test_realmlp_is_that_of_its_package(activation, periodic):
    """The whole network, from categories and numbers to logits, as the package builds it."""
    levels, dim = (4, 6), 2
    network_spec = spec(
        "scaled",
        activation=activation,
        periodic=periodic,
        n_inputs=NUMBERS,
        cardinalities=levels,
        embedding_dim=dim,
    )
    network = drawn(network_spec, members=1, training=True)
    x, codes = some_rows(network_spec, members=1)
    config = DefaultParams.RealMLP_TD_CLASS | {
        "act": activation,
        "hidden_sizes": [8, 8],
        "num_emb_type": "pbld" if periodic else "none",
        "embedding_size": dim,
        "tfms": ["embedding"],
        "block_str": "w-b-a",
        "use_ls": False,
    }
    kinds = {"x_cont": TensorInfo(feat_shape=[NUMBERS]), "x_cat": TensorInfo(cat_sizes=levels)}
    kinds["y"] = TensorInfo(cat_sizes=[3])
    rows = {"x_cont": x[0].float(), "x_cat": codes[0], "y": torch.zeros(BATCH, 1).long()}
    module = NNFactory(**config).create(kinds).fit(DictDataset(rows, kinds)).double()
    layers = {}
    for layer in module.modules():
        layers.setdefault(type(layer).__name__, []).append(layer)
    layers = {name: iter(instances) for name, instances in layers.items()}

    def of_categories(number):
        start = sum(levels[:number])
        return lambda table: table[start : start + levels[number]]

    def categories_last(values):
        embedded = dim * len(levels)
        return torch.cat([values[embedded:], values[:embedded]])

    places = [
        ("embedding.table", layer.emb, of_categories(i))
        for i, layer in enumerate(layers["SingleEmbeddingLayer"])
    ]
    for layer in layers.get("PLREmbeddingsLayerCosBias", ()):
        places += [
            ("periodic.frequency", layer.weight_1, same),
            ("periodic.phase", layer.bias_1, same),
            ("periodic.weight", layer.weight_2, same),
            ("periodic.bias", layer.bias_2, same),
        ]
    places.append(("hidden0.scale", next(layers["ScaleLayer"]).scale, categories_last))
    weights, biases = layers["WeightLayer"], layers["BiasLayer"]
    for i, turn in enumerate((categories_last, same)):
        slope = next(layers["ParametricActivationLayer"]).weight
        places += [
            (f"hidden{i}.weight", next(weights).weight, turn),
            (f"hidden{i}.bias", next(biases).bias, same),
            (f"hidden{i}.slope", slope, same),
        ]
    places.append(("heads.weight", next(weights).weight, turned))
    places.append(("heads.bias", next(biases).bias, same))
    assert len(places) == len(list(module.parameters()))
    rows["x_cont"] = x[0]
    compared(network, lambda: module.forward_tensors(rows)["x_cont"][:, None], places, x, codes)


def test_piecewise_linear_numbers_are_those_of_their_package():
    frame, y = mixed_table("binary")
    dataset = dataset_of(frame[["amount", "count", "day"]].dropna(), y)
    rows = np.arange(len(dataset.columns.numbers))
    encoder = Encoder.fit(dataset.columns, rows, layout=dataset.layout)
    encoded = encoder.transform(dataset.columns)
    edges = np.split(encoder.edges, np.cumsum(encoder.bins + 1)[:-1])
    package = rtdl_num_embeddings.PiecewiseLinearEncoding([torch.from_numpy(e) for e in edges])
    numbers = encoded.numbers[:, : len(encoder.bins)]
    expected = package(torch.from_numpy(numbers)).numpy()
    got, _ = encoder.dense(encoded, ple=True)
    np.testing.assert_allclose(got[:, : encoder.bins.sum()], expected, atol=1e-5)
