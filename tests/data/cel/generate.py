#!/usr/bin/env python3
"""Conditions over versions, and the verdicts of cel-python: generate.py > cases.json. Needs requirements.txt.

The registry evaluates conditions by itself; cel-python is another's implementation of the same language. The cases are random, and the same for
the same SEED. Each is a condition with its verdict over each of the versions: true, false, or error where CEL has none.
"""

import json
import random
import sys

import celpy
from celpy import celtypes

SEED = 16
CASES = 400

# As protobuf's JSON has them. A metric that is not a number, and what else CEL and the registry read differently on purpose, stands in DIFFERENT.
FULL = {
    "name": "namespaces/risk/models/fraud/versions/7",
    "versionId": "1.4.0",
    "number": "7",
    "description": "größer, besser",
    "creator": "ana",
    "createTime": "2026-01-26T10:30:00Z",
    "trainingTime": "2026-01-25T22:15:30Z",
    "tags": {"region": "eu", "pci": "yes", "empty": "", "a.b": "c"},
    "state": "VERSION_STATE_READY",
    "stage": "STAGE_PRODUCTION",
    "framework": "onnx",
    "frameworkVersion": "1.19.0",
    "baseVersions": ["namespaces/risk/models/fraud/versions/5", "namespaces/risk/models/fraud/versions/6"],
    "metrics": {
        "validation": {"values": {"auc": 0.971, "rmse": 0.25, "zero": 0.0, "below": -1.5, "lost": "NaN"}},
        "test": {"values": {"auc": 0.93, "rmse": 0.5}},
        "none": {},
    },
    "hyperparameters": {
        "max_depth": 6.0,
        "rate": 0.03,
        "solver": "lbfgs",
        "early": True,
        "layers": [64.0, 32.0],
        "tree": {"leaves": 31.0},
    },
    "features": [{"name": "amount", "dtype": "float64", "shape": ["-1", "3"]}, {"name": "age", "dtype": "int64"}],
    "standardizationParams": {"mean": [0.5, -2.0], "scale": [1.0]},
    "sizeBytes": "24242",
    "artifactCount": "6",
}
BARE = {"name": "namespaces/default/models/m/versions/1", "number": "1", "createTime": "2025-12-31T23:59:59Z"}
ODD = {
    "name": "namespaces/risk/models/Fraud-2/versions/9223372036854775807",
    "number": "9223372036854775807",
    "description": "\"quoted\" \\ 'text'\nof two lines, 模型",
    "createTime": "1970-01-01T00:00:00Z",
    "withdrawTime": "2026-02-01T00:00:00Z",
    "purged": True,
    "tags": {"region": "us", "pci": "no"},
    "state": "VERSION_STATE_FAILED",
    "stage": "STAGE_ARCHIVED",
    "framework": "ONNX",
    "baseVersions": [],
    "metrics": {"validation": {"values": {"auc": 1e300, "rmse": 1e-300, "zero": -0.0}}},
    "hyperparameters": {"max_depth": 6.5, "solver": "adam", "early": False, "layers": [], "rate": -1.0},
    "sizeBytes": "-9223372036854775808",
}
VERSIONS = {"full": FULL, "bare": BARE, "odd": ODD}

STRINGS = {"name", "versionId", "description", "creator", "framework", "frameworkVersion"}
INTS = {"number", "sizeBytes", "artifactCount"}
TIMES = {"createTime", "trainingTime", "withdrawTime"}


def snake(name):
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)


def of_json(value):
    """What a field that holds JSON is in CEL: its numbers are doubles."""
    if isinstance(value, bool):
        return celtypes.BoolType(value)
    if isinstance(value, float):
        return celtypes.DoubleType(value)
    if isinstance(value, str):
        return celtypes.StringType(value)
    if isinstance(value, list):
        return celtypes.ListType([of_json(item) for item in value])
    return celtypes.MapType({celtypes.StringType(key): of_json(item) for key, item in value.items()})


def bound(version):
    """A version as CEL sees the message: an absent scalar, list or map is an empty one."""
    fields = {snake(name): celtypes.StringType("") for name in STRINGS}
    fields |= {snake(name): celtypes.IntType(0) for name in INTS}
    fields |= {name: celtypes.ListType([]) for name in ("base_versions", "features")}
    fields |= {name: celtypes.MapType({}) for name in ("tags", "metrics")}
    fields |= {"purged": celtypes.BoolType(False)}
    fields |= {name: celtypes.StringType("UNSPECIFIED") for name in ("stage", "state")}
    for name, value in version.items():
        if name in STRINGS:
            value = celtypes.StringType(value)
        elif name in INTS:
            value = celtypes.IntType(int(value))
        elif name in TIMES:
            value = celtypes.TimestampType(value)
        elif name in ("stage", "state"):
            value = celtypes.StringType(value.split("_")[-1])
        elif name == "metrics":
            value = celtypes.MapType({celtypes.StringType(split): doubles(of.get("values", {})) for split, of in value.items()})
        elif name == "features":
            value = celtypes.ListType([feature(item) for item in value])
        else:
            value = of_json(value)
        fields[snake(name)] = value
    return celtypes.MapType({celtypes.StringType(name): value for name, value in fields.items()})


def doubles(values):
    return celtypes.MapType({celtypes.StringType(name): celtypes.DoubleType(value) for name, value in values.items()})


def feature(item):
    shape = celtypes.ListType([celtypes.IntType(int(number)) for number in item.get("shape", [])])
    return celtypes.MapType({**of_json({"name": item["name"], "dtype": item["dtype"]}), celtypes.StringType("shape"): shape})


class Random(random.Random):
    """Conditions of all that there is."""

    def text(self):
        return self.choice([
            "version.name", "version.framework", "version.framework_version", "version.description", "version.version_id",
            "version.creator", 'version.tags["region"]', "version.tags.pci", 'version.tags["none"]', 'version.tags["a.b"]',
            "version.features[0].name", "version.features[7].name", "version.base_versions[1]",
        ])

    def written(self):
        return self.choice(['"onnx"', "'eu'", '"ana"', '""', "'1.4.0'", '"größer"', '"\\"quoted\\""', "'yes'", '"ONNX"', "r'of\\w'",
                            '"模型"', "'namespaces/risk/models/fraud/versions/6'", '"amount"', "'f'", '"\\u0065u"'])

    def int(self, depth=1):
        if depth and self.random() < 0.4:
            return f"{self.int(0)} {self.choice('+-*/%')} {self.int(0)}"
        return self.choice([
            "version.number", "version.size_bytes", "version.artifact_count", "size(version.tags)", "size(version.base_versions)",
            "version.name.size()", "size(version.features)", "version.features[0].shape[1]", "-version.number", "0", "1", "2", "7",
            "-1", "24242", "9223372036854775807", "size(version.description)", "size('模型')",
        ])

    def double(self, depth=1):
        if depth and self.random() < 0.3:
            # By zero there is what is not a number.
            divided = f"{self.double(0)} / {self.choice(['0.5', '-2.0', '1e300'])}"
            return self.choice([divided, f"{self.double(0)} {self.choice('+-*')} {self.double(0)}"])
        return self.choice([
            'version.metrics["validation"]["auc"]', "version.metrics.test.auc", "version.metrics.validation.rmse",
            'version.metrics["validation"]["none"]', 'version.metrics["train"]["auc"]', "version.metrics.validation.zero",
            "version.metrics.validation.below", "version.standardization_params.mean[0]", "version.standardization_params.scale[3]",
            "0.5", "0.0", "-1.5", "1e300", "0.971", ".25",
        ])

    def number_of_json(self):
        return self.choice(["version.hyperparameters.max_depth", 'version.hyperparameters["rate"]', "version.hyperparameters.layers[1]",
                            "version.hyperparameters.tree.leaves", "version.hyperparameters.none"])

    def time(self):
        if self.random() < 0.3:
            return f"{self.time()} {self.choice('+-')} {self.length()}"
        return self.choice(["version.create_time", "version.training_time", "version.withdraw_time",
                            'timestamp("2026-01-26T10:30:00Z")', "timestamp('2026-01-26T11:30:00+01:00')", "timestamp('2000-02-29T00:00:00Z')"])

    def length(self):
        return self.choice(['duration("1h")', "duration('90m')", 'duration("-30s")', "duration('1.5h')", "duration('0s')", "duration('240h')"])

    def compares(self):
        return self.choice(["==", "!=", "<", "<=", ">", ">="])

    def atom(self):
        return self.choice([
            lambda: f"{self.text()} {self.compares()} {self.written()}",
            lambda: f"{self.written()} {self.compares()} {self.text()}",
            lambda: f"{self.text()} {self.compares()} {self.text()}",
            lambda: f"{self.text()}.{self.choice(['contains', 'startsWith', 'endsWith'])}({self.written()})",
            lambda: f"{self.text()} in [{self.written()}, {self.written()}, version.framework]",
            lambda: f"{self.int()} {self.compares()} {self.int()}",
            lambda: f"{self.int()} {self.compares()} {self.int()}",
            lambda: f"{self.int(0)} in [{self.int(0)}, {self.int(0)}]",
            lambda: f"{self.double()} {self.compares()} {self.double()}",
            lambda: f"{self.double()} {self.compares()} {self.double()}",
            lambda: f"{self.number_of_json()} {self.compares()} {self.double(0)}",
            lambda: f"version.hyperparameters.solver {self.choice(['==', '!='])} '{self.choice(['adam', 'lbfgs'])}'",
            lambda: f"{self.time()} {self.compares()} {self.time()}",
            lambda: f"version.create_time - {self.time()} {self.compares()} {self.length()}",
            lambda: f"{self.written()} in version.tags",
            lambda: f"'{self.choice(['region', 'none', 'a.b'])}' in version.tags",
            lambda: f"{self.written()} in version.base_versions",
            lambda: f"-1 in version.features[{self.choice('012')}].shape",
            lambda: f"has(version.tags.{self.choice(['region', 'none', 'empty'])})",
            lambda: f"has(version.{self.choice(['training_time', 'withdraw_time', 'create_time', 'hyperparameters'])})",
            lambda: f"version.stage {self.choice(['==', '!='])} '{self.choice(['PRODUCTION', 'ARCHIVED'])}'",
            lambda: f"version.state in ['READY', '{self.choice(['FAILED', 'PENDING'])}']",
            lambda: "version.purged",
            lambda: "version.hyperparameters.early",
            lambda: self.choice(["true", "false"]),
        ])()

    def condition(self, depth):
        if depth == 0 or self.random() < 0.15:
            return self.atom()
        kind = self.random()
        if kind < 0.35:
            return " && ".join(f"({self.condition(depth - 1)})" for _ in range(self.choice([2, 2, 3])))
        if kind < 0.7:
            return " || ".join(f"({self.condition(depth - 1)})" for _ in range(self.choice([2, 2, 3])))
        if kind < 0.85:
            return f"!({self.condition(depth - 1)})"
        return f"({self.atom()}) ? ({self.condition(depth - 1)}) : ({self.condition(depth - 1)})"


# What random conditions seldom have.
ALSO = [
    # has() of a path of which another part is missing is false.
    "has(version.metrics.train.auc)",
    "!has(version.metrics.test.auc)",
    "has(version.hyperparameters.tree.leaves)",
    "has(version.hyperparameters.solver.name)",
    "has(version.environment.language)",
    # JSON's numbers are doubles, also beside an int.
    "version.hyperparameters.max_depth > 6",
    "version.hyperparameters.max_depth * 2 == 12.0",
    "version.metrics.test.auc >= 1",
    # Division and remainders go to zero.
    "-7 / 2 == -3 && 7 / -2 == -3 && -7 % 2 == -1 && 7 % -2 == 1",
    "version.size_bytes / -1 == version.size_bytes",
    "-version.size_bytes > 0",
    "1.0 / 0.0 > 1e300",
    # One side decides.
    "version.number / 0 == 1 || true",
    "false && version.number / 0 == 1",
    "!(version.number / 0 == 1 || false)",
    "version.number / 0 == 1 ? true : true",
    # Literals.
    "0x10 == 16 && 1e3 == 1000.0 && -0x7 == -7",
    "'\\x41\\u0042\\U00000043\\104' == 'ABCD'",
    "size('\\n') == 1 && size(r'\\n') == 2",
]

# What the registry reads differently, and why: the condition and its verdicts. "refused" is no verdict over any version.
REFUSED = ["refused"] * 3
DIFFERENT = [
    # What is not a number meets no comparison, negated or not.
    ("nan", "version.metrics.validation.lost != 0.5", ["error", "error", "error"]),
    ("nan", "!(version.metrics.validation.lost > 0.5)", ["error", "error", "error"]),
    ("nan", "version.metrics.validation.lost in [0.5, 1.0]", ["error", "error", "error"]),
    ("nan", "version.metrics.test.auc < 0.0 / 0.0", ["error", "error", "error"]),
    ("nan", "version.metrics.validation.lost == version.metrics.validation.lost", ["error", "error", "error"]),
    # A value is looked for among those that are there.
    ("in", "version.framework in [version.tags.none, 'onnx']", ["true", "error", "error"]),
    ("in", "version.creator in ['', version.features[7].name]", ["error", "true", "true"]),
    # The registry does as the specification says: ints compare with doubles, a value of another type is another value, zero has
    # a sign; and math.isNaN() is an extension.
    ("theirs", "version.number < 7.5", ["true", "true", "false"]),
    ("theirs", "version.number > version.metrics.validation.auc", ["true", "error", "false"]),
    ("theirs", "version.hyperparameters.max_depth == 6", ["true", "error", "false"]),
    ("theirs", "version.hyperparameters.solver == 6", ["false", "error", "false"]),
    ("theirs", "version.hyperparameters.max_depth != 'six'", ["true", "error", "true"]),
    ("theirs", "math.isNaN(version.metrics.validation.lost)", ["true", "error", "error"]),
    ("theirs", "-1.0 / 0.0 < -1e300", ["true", "true", "true"]),
    # JSON knows no ints: beside its numbers, an int is a double.
    ("json", "1 + version.hyperparameters.max_depth >= 7.5", ["false", "error", "true"]),
    # Types that differ are refused before anything is read.
    ("types", "version.number == '7'", REFUSED),
    ("types", "version.framework in ['onnx', 1]", REFUSED),
    ("types", "version.number + 1.5 > 2.0", REFUSED),
    ("types", "version.withdraw_time == null", REFUSED),
    ("types", "version.stage == 'LIVE'", REFUSED),
    # What can cost more than the record is long, and what else there is not.
    ("absent", "version.framework.matches('on+x')", REFUSED),
    ("absent", "version.base_versions.exists(base, base.endsWith('6'))", REFUSED),
    ("absent", "version.base_versions.filter(base, true).size() == 2", REFUSED),
    ("absent", "version.framework + version.framework_version == 'onnx1.19.0'", REFUSED),
    ("absent", "string(version.number) == '7'", REFUSED),
    ("absent", "double(version.number) == 7.0", REFUSED),
    ("absent", "version.create_time.getFullYear() == 2026", REFUSED),
    ("absent", "type(version.number) == int", REFUSED),
    ("absent", "[1, 2] == [1, 2]", REFUSED),
    ("absent", "{'eu': 1}[version.tags.region] == 1", REFUSED),
    ("absent", "version.tags == version.tags", REFUSED),
]


def verdict(environment, text, version):
    try:
        found = environment.program(environment.compile(text)).evaluate({"version": version})
    except celpy.CELEvalError:
        return "error"
    if isinstance(found, celtypes.BoolType):
        return "true" if found else "false"
    return "error"


def main():
    environment, chance = celpy.Environment(), Random(SEED)
    versions = {name: bound(version) for name, version in VERSIONS.items()}
    texts = {}
    while len(texts) < CASES:
        text = chance.condition(chance.choice([0, 0, 1, 1, 2]))
        texts[text] = None
    cases = []
    for text in [*texts, *ALSO]:
        cases.append({"condition": text, "cel": [verdict(environment, text, version) for version in versions.values()]})
    for why, text, ours in DIFFERENT:
        cel = [verdict(environment, text, version) for version in versions.values()]
        if cel == ours:
            sys.exit(f"not different: {text}")
        cases.append({"condition": text, "cel": cel, "registry": ours, "why": why})
    # A case is a line.
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    versions = ",\n".join(json.dumps(version, ensure_ascii=False) for version in VERSIONS.values())
    sys.stdout.write(f'{{"versions": [\n{versions}\n],\n"cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
