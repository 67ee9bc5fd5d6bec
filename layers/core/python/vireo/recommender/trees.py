"""CatBoost's oblivious trees without CatBoost: packed into arrays once, evaluated by numpy.

A tree of depth D asks D yes-or-no questions, whose answers are the bits of the leaf's number.
Features are binned first: the bin of a number is how many of its borders it exceeds, so "x > border
j" is "bin > j". A question "code is c" has a row of its own, 0 or 1, and asks for "row > 0".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Number of trees evaluated together, so that their bins, bits and leaves stay in the cache.
_CHUNK = 250
_NEVER = 255  #: no bin exceeds it; pads trees of less depth
_NAN_IS = {"AsIs": 0, "AsFalse": 0, "AsTrue": 255}


class UnsupportedModel(ValueError):
    """A CatBoost model with a feature that the request path does not evaluate."""


def pack(model: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Arrays of a model that CatBoost saved as JSON, for a bundle's ``ranker/``.

    The model's features are the columns of the argument of `Trees.predict`. Categorical ones must
    be trained as the decimal string of their code (`cat_hash` recovers the codes), with
    ``one_hot_max_size`` above the number of codes.

    Raises:
        UnsupportedModel: other than oblivious trees of one output with numeric and one-hot splits.
    """
    if "oblivious_trees" not in model:
        raise UnsupportedModel("only oblivious (symmetric) trees can be packed")
    info = model["features_info"]
    floats, cats = info.get("float_features", []), info.get("categorical_features", [])
    borders = [np.array(f["borders"] or [], np.float32) for f in floats]
    if any(len(b) >= _NEVER for b in borders):
        raise UnsupportedModel("more than 254 borders: set border_count")
    trees = model["oblivious_trees"]
    columns = {c["feature_index"]: c["flat_feature_index"] for c in cats}
    one_hot = _one_hot(trees, columns)
    row_of = {pair: len(floats) + j for j, pair in enumerate(one_hot)}

    def question(split: Mapping[str, Any]) -> tuple[int, int]:
        """Row of the bins, and what it must exceed."""
        match split["split_type"]:
            case "FloatFeature":
                j = split["float_feature_index"]
                return j, int(np.searchsorted(borders[j], np.float32(split["border"])))
            case "OneHotFeature":
                return row_of[columns[split["cat_feature_index"]], _code(split["value"])], 0
            case other:
                raise UnsupportedModel(f"{other} splits: raise one_hot_max_size")

    depth = max((len(t["splits"] or []) for t in trees), default=0)
    feature = np.zeros((depth, len(trees)), np.int32)
    threshold = np.full((depth, len(trees)), _NEVER, np.uint8)
    leaves = np.zeros((len(trees), 1 << depth))
    for t, tree in enumerate(trees):
        splits = tree["splits"] or []
        if len(tree["leaf_values"]) != 1 << len(splits):
            raise UnsupportedModel("more than one output")
        leaves[t, : 1 << len(splits)] = tree["leaf_values"]
        for d, split in enumerate(splits):
            feature[d, t], threshold[d, t] = question(split)
    scale, bias = model["scale_and_bias"]
    offsets = np.cumsum([0, *(len(b) for b in borders)])
    return {
        "feature": feature,
        "threshold": threshold,
        "leaves": leaves,
        "borders": np.concatenate([np.zeros(0, np.float32), *borders]),
        "offsets": offsets.astype(np.int64),
        "columns": np.array([f["flat_feature_index"] for f in floats], np.int32),
        "nan": np.array([_NAN_IS[f["nan_value_treatment"]] for f in floats], np.uint8),
        "one_hot": np.array(one_hot, np.int32).reshape(-1, 2),
        "scale": np.array([scale, np.ravel(bias)[0]], np.float64),
    }


def _one_hot(trees: Sequence[Any], columns: Mapping[int, int]) -> list[tuple[int, int]]:
    """(column, code) of every one-hot question, ascending."""
    splits = [s for tree in trees for s in tree["splits"] or []]
    asked = {
        (columns[s["cat_feature_index"]], _code(s["value"]))
        for s in splits
        if s["split_type"] == "OneHotFeature"
    }
    return sorted(asked)


@cache
def _codes() -> dict[int, int]:
    return {cat_hash(str(code)): code for code in range(1 << 15)}


def _code(hashed: int) -> int:
    """The code whose decimal string has this hash."""
    code = _codes().get(hashed & 0xFFFFFFFF)
    if code is None:
        raise UnsupportedModel("a category that is not the decimal string of a code")
    return code


def cat_hash(text: str) -> int:
    """CatBoost's hash of a category of at most 8 bytes: CityHash64 1.0, the lower 32 bits."""
    data = text.encode()
    mask, n = (1 << 64) - 1, len(data)
    if not 1 <= n <= 8:
        raise ValueError("only categories of 1 to 8 bytes")
    if n < 4:
        low = data[0] + (data[n >> 1] << 8)
        high = n + (data[-1] << 2)
        mixed = (low * 0x9AE16A3B2F90404F ^ high * 0xC949D7C7509E6557) & mask
        return (mixed ^ mixed >> 47) * 0x9AE16A3B2F90404F & 0xFFFFFFFF
    multiplier = 0x9DDFEA08EB382D69
    low = n + (int.from_bytes(data[:4], "little") << 3)
    high = int.from_bytes(data[-4:], "little")
    mixed = (low ^ high) * multiplier & mask
    mixed ^= mixed >> 47
    mixed = (high ^ mixed) * multiplier & mask
    mixed ^= mixed >> 47
    return mixed * multiplier & 0xFFFFFFFF


class Trees:
    """A packed ranker."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        offsets, borders = arrays["offsets"], arrays["borders"]
        self._borders = [np.ascontiguousarray(borders[a:b]) for a, b in pairwise(offsets)]
        self._columns = arrays["columns"].tolist()
        self._nan = arrays["nan"]
        self._one_hot = arrays["one_hot"]
        self._scale, self._bias = arrays["scale"].tolist()
        self._chunks = list(_chunks(arrays))

    def bins(self, features: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The values that the questions compare: uint8 [numbers + one-hot questions, k]."""
        columns = np.ascontiguousarray(features.T)
        numbers = len(self._columns)
        bins = np.zeros((numbers + len(self._one_hot), columns.shape[1]), np.uint8)
        for j, (column, borders) in enumerate(zip(self._columns, self._borders, strict=True)):
            if len(borders):
                bins[j] = borders.searchsorted(columns[column])
        unknown = np.isnan(columns[self._columns])
        if unknown.any():
            bins[:numbers] = np.where(unknown, self._nan[:, None], bins[:numbers])
        if len(self._one_hot):
            bins[numbers:] = columns[self._one_hot[:, 0]] == self._one_hot[:, 1:]
        return bins

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Raw scores, float64 [k], of a feature matrix [k, F]."""
        bins = self.bins(features)
        total = np.zeros(len(features))
        for feature, threshold, leaves, base in self._chunks:
            leaf = _leaf(bins, feature, threshold)
            total += leaves.take(base + leaf).sum(0)
        scores: NDArray[np.float64] = total * self._scale + self._bias
        return scores


def _leaf(bins: NDArray[np.uint8], feature: Any, threshold: Any) -> NDArray[Any]:
    """Leaf number of every tree and row, [trees, k]: the answers as binary digits."""
    depth = len(feature)
    leaf = np.zeros((feature.shape[1], bins.shape[1]), np.uint8 if depth <= 8 else np.uint16)
    for d in range(depth - 1, -1, -1):
        leaf += leaf
        leaf += bins.take(feature[d], axis=0) > threshold[d]
    return leaf


def _chunks(arrays: Mapping[str, NDArray[Any]]) -> Iterator[tuple[Any, Any, Any, Any]]:
    leaves = arrays["leaves"]
    width = leaves.shape[1]
    for start in range(0, len(leaves), _CHUNK):
        part = slice(start, start + _CHUNK)
        values = np.ascontiguousarray(leaves[part]).ravel()
        base = (np.arange(len(leaves[part]), dtype=np.intp) * width)[:, None]
        feature = np.ascontiguousarray(arrays["feature"][:, part], np.intp)
        yield feature, np.ascontiguousarray(arrays["threshold"][:, part, None]), values, base
