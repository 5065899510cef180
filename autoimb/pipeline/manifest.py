"""Plain values of an artifact: the classes describe ``manifest.json``.

msgspec reads and writes them, and checks types, ranges and names of keys. Fields may be of classes
of other modules, such as the shape of a network, which describe themselves.
"""

from __future__ import annotations

from typing import Annotated, TypedDict

from msgspec import Meta, Struct, ValidationError
from msgspec.json import Decoder

from autoimb.assessment.calibration import Calibrator
from autoimb.assessment.decision import DecisionRule
from autoimb.data.encoding.layout import Layout
from autoimb.data.schema import Schema
from autoimb.errors import ArtifactError
from autoimb.nn.spec import NetworkSpec
from autoimb.version import __version__

__all__ = [
    "FORMAT",
    "ChosenOption",
    "Info",
    "LabelPart",
    "Manifest",
    "PackPart",
    "Rate",
    "StrategyPart",
    "TreesPart",
    "read_manifest",
]

FORMAT = 1

Scalar = bool | int | float | str
_Parameter = Scalar | None | list[Scalar | None] | dict[str, Scalar | None]
_Number = float | None  # None if undefined
_Weight = Annotated[float, Meta(ge=0, le=1e6)]


class ChosenOption(TypedDict):
    """Option of a component, as in `autoimb.space.strategy.Strategy.to_json`."""

    name: str
    params: dict[str, _Parameter]


class Rate(TypedDict):
    """Expected rate of the positive class with its 95 % interval."""

    value: float
    low: float
    high: float
    rule: str


class Info(TypedDict, total=False):
    """Facts about the search for users; other keys are ignored.

    Attributes
    ----------
    created : str
        Date and time, ISO 8601.
    versions : dict of str to str
        Versions of autoimb and of the packages that it used.
    metric, estimate, verdict : str
    score, error : float or None
    interval : list of two floats or None
    rows : int
        Rows of the training table.
    rate : Rate
        Present if rates were expected to change.
    deployed : dict of str to number or None
        See `autoimb.evaluation.limits.Limits.deployed`.
    """

    created: str
    versions: dict[str, str]
    metric: str
    score: _Number
    error: _Number
    interval: Annotated[list[_Number], Meta(min_length=2, max_length=2)]
    estimate: str
    verdict: str
    rows: int
    rate: Rate
    deployed: dict[str, int | float | None]


class PackPart(Struct, frozen=True, forbid_unknown_fields=True):
    """Networks of one shape; see `autoimb.pipeline.fitted.FittedMemberPack`."""

    spec: NetworkSpec
    focal_gamma: Annotated[float, Meta(ge=0, le=100)]


class TreesPart(Struct, frozen=True, forbid_unknown_fields=True):
    """Trees of one fold; see `autoimb.partners.trees.FittedTrees`."""

    numbers: Annotated[int, Meta(ge=0, le=2**31)]
    bagged: bool


class StrategyPart(Struct, frozen=True, forbid_unknown_fields=True):
    """Fitted strategy without its arrays; see `autoimb.pipeline.fitted.FittedStrategy`."""

    strategy: dict[str, ChosenOption]
    description: str
    packs: tuple[PackPart, ...]
    calibrator: Calibrator
    class_costs: tuple[Annotated[float, Meta(ge=0)], ...] | None
    trees: tuple[TreesPart, ...]


class LabelPart(Struct, frozen=True, forbid_unknown_fields=True):
    """Class labels as plain values, with the dtype of their array."""

    dtype: str
    labels: Annotated[list[Scalar], Meta(min_length=2)]


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """Pipeline without its arrays; see `autoimb.pipeline.fitted.FittedPipeline`."""

    format: int
    info: Info
    schema: Schema
    classes: LabelPart
    positive: Annotated[int, Meta(ge=0)]
    encoders: tuple[Layout, ...]
    strategies: Annotated[tuple[StrategyPart, ...], Meta(min_length=1)]
    weights: tuple[_Weight, ...]
    calibrator: Calibrator
    rule: DecisionRule


class _Format(Struct):
    """Manifest of any format."""

    format: int


# The decoders are built on import, as they evaluate the annotations above; loading a file evaluates
# nothing.
_FORMAT_DECODER, _DECODER = Decoder(_Format), Decoder(Manifest)


def read_manifest(content: bytes) -> Manifest:
    """Read the JSON of a manifest.

    Raises
    ------
    ArtifactError
        If the format or a value is wrong; the message names the place and the expected value.
    """
    try:
        number = _FORMAT_DECODER.decode(content).format
        if number != FORMAT:
            raise ArtifactError(
                f"it has format {number}, and autoimb {__version__} reads format {FORMAT} alone."
            )
        return _DECODER.decode(content)
    except ValidationError as error:
        raise ArtifactError(f"manifest.json: {error}.") from error
