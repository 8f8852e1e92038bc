"""What programs say of their models, as the contract has it. Whatever does not fit is named by its key."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any, SupportsFloat

from modelregistry.v1.versions_pb2 import Version


def described(fields: Mapping[str, Any], metrics: Mapping[str, Any], params: Mapping[str, Any]) -> Version:
    """A version with these fields. Numbers may be those of NumPy."""
    version = Version(**tagged(fields))
    for name, value in metrics.items():
        split, dot, metric = (name, ".", "") if isinstance(value, Mapping) else name.partition(".")
        if not dot:
            raise ValueError(f"metrics: {name!r} is of no split: write SPLIT.NAME, such as validation.{name}")
        for key, one in (value if isinstance(value, Mapping) else {metric: value}).items():
            if not isinstance(one, SupportsFloat):
                raise TypeError(f"metrics.{split}.{key}: {type(one).__name__} is no number")
            version.metrics[split].values[key] = float(one)
    version.hyperparameters.update(_plain("params", params))
    return version


def tagged(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields whose tags may be numbers."""
    return {**fields, "tags": {key: _text(f"tags.{key}", value) for key, value in (fields.get("tags") or {}).items()}}


def _text(key: str, value: Any) -> str:
    """The value of a tag."""
    if not isinstance(value, str | numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{key}: {type(value).__name__} is neither a text nor a number")
    return str(value)


def _plain(key: str, value: Any) -> Any:
    """A value as JSON has them."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _plain(f"{key}.{name}", one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(f"{key}[{at}]", one) for at, one in enumerate(value)]
    raise TypeError(f"{key}: {type(value).__name__} is no value of JSON")
