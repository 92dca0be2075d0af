"""Golden values of log_det: tests/fixtures/log_det.json, by numpy's slogdet.

    python tests/peers/log_det.py
"""
import json
import pathlib

import numpy

draw = numpy.random.default_rng(3)
cases = []
for n, dimension, epsilon in [(1, 4, 0.01), (2, 4, 0.01), (4, 8, 0.01), (8, 8, 0.1), (16, 6, 0.01), (5, 3, 1.0)]:
    cases.append((draw.normal(size=(n, dimension)).round(3), epsilon))
same = draw.normal(size=(1, 5)).round(3)
cases.append((numpy.repeat(same, 4, axis=0), 0.01))
cases.append((numpy.eye(4), 0.01))
golden = []
for vectors, epsilon in cases:
    vectors = vectors.astype(numpy.float32).astype(float)
    unit = vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)
    n = len(unit)
    sign, value = numpy.linalg.slogdet((unit @ unit.T + epsilon * numpy.eye(n)) / (1 + epsilon))
    assert sign == 1
    golden.append({"vectors": vectors.round(3).tolist(), "epsilon": epsilon, "log_det": value})
path = pathlib.Path(__file__).parents[1] / "fixtures" / "log_det.json"
path.write_text(json.dumps(golden) + "\n")
