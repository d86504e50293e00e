"""Sweep files: defaults, round trips, and the message for every kind of bad input."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ddp_sweep.errors import SpecError, SpecProblem
from ddp_sweep.schema import QUALITY_COLUMNS
from ddp_sweep.spec import METRICS, SweepSpec, load_spec, parse_spec

ROOT = Path(__file__).parents[2]

GOOD = """\
name: digits
workload: ddp_sweep.workloads.digits:Digits
sweep:
  world_size: [1, 2]
  per_worker_batch_size: [32, 128]
training:
  epochs: 8
  learning_rate: 0.05
"""
# Section 9 of the design: every key with its default.
DEFAULTS = """\
workload_options: {}
seeds: 5
training:
  samples: null
  reference_batch_size: 64
  learning_rate_scaling: linear
  warmup_fraction: auto
  schedule: constant
  optimizer: sgd
  weight_decay: 0
  max_gradient_norm: null
  precision: float32
  max_per_worker_batch_size: null
  evaluations: 10
  record_every: 1
  compile: false
  synchronized_batch_norm: false
  ddp: {}
data: {loader_workers: auto, evaluation_batch_size: auto, pin_memory: auto}
quality:
  target: {}
  margins: {}
  floors: {}
  decision_threshold: 0.5
  confirm_seeds: 0
baseline: auto
resources:
  device: auto
  cpus_per_worker: 1
  gpus_per_worker: 1
  placement: exclusive
  max_workers: null
  price_per_worker_hour: null
  start_timeout_s: 600
  stall_timeout_s: 600
  trial_timeout_s: null
  checkpoint_every_s: null
  max_attempts: 3
  placement_strategy: pack
probes: true
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str) -> Path:
        file = tmp_path / "sweep.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write_file


def yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def good(**sections: Any) -> dict[str, Any]:
    return {**yaml(GOOD), **sections}


def problems(mapping: dict[str, Any]) -> list[SpecProblem]:
    with pytest.raises(SpecError) as caught:
        parse_spec(mapping)
    return caught.value.problems


def only_problem(mapping: dict[str, Any]) -> SpecProblem:
    [problem] = problems(mapping)
    return problem


def with_value(path: str, value: Any) -> dict[str, Any]:
    """The good file with one setting replaced; keys in the path are separated by slashes."""
    mapping = good()
    section = mapping
    *above, key = path.split("/")
    for name in above:
        section = section.setdefault(name, {})
    section[key] = value
    return mapping


def test_defaults_are_those_of_the_documented_file(write: Write) -> None:
    minimal = load_spec(write(GOOD))
    spelled_out = yaml(DEFAULTS)
    spelled_out["training"].update(yaml(GOOD)["training"])

    assert parse_spec({**yaml(GOOD), **spelled_out}).to_yaml() == minimal.to_yaml()
    written = {key: set(value) for key, value in spelled_out.items() if isinstance(value, dict)}
    for section, keys in written.items():
        assert set(minimal.to_mapping()[section]) == keys, section
    assert set(minimal.to_mapping()) == set(spelled_out) | set(yaml(GOOD))


@pytest.mark.parametrize("file", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda f: f.stem)
def test_bundled_sweeps_are_valid(file: Path) -> None:
    spec = load_spec(file)

    assert spec.name == file.stem
    assert len(spec.seeds) >= 3, "fewer seeds decide nothing about quality"
    assert spec.quality.margins


def test_a_count_of_seeds_stands_for_the_first_ones() -> None:
    assert parse_spec(good(seeds=3)).seeds == (0, 1, 2)
    assert parse_spec(good(seeds=[7, 3])).seeds == (7, 3)


def test_paths_resolve_against_the_sweep_file(write: Write, tmp_path: Path) -> None:
    assert load_spec(write(GOOD)).base_dir == tmp_path


def test_a_swept_learning_rate_need_not_be_given_twice() -> None:
    mapping = with_value("sweep/learning_rate", [0.1, 0.2])
    del mapping["training"]["learning_rate"]

    assert parse_spec(mapping).sweep.axes == {"learning_rate": (0.1, 0.2)}


def test_a_spec_that_breaks_a_rule_cannot_be_made_by_hand_either() -> None:
    with pytest.raises(pydantic.ValidationError, match="both epochs and samples"):
        SweepSpec.model_validate(with_value("training/samples", 10))


def test_specs_travel_between_processes(write: Write) -> None:
    spec = load_spec(write(GOOD), ["sweep.ddp=[{static_graph: true}]"])
    there = pickle.loads(pickle.dumps(spec))

    assert there == spec
    assert there.base_dir == spec.base_dir


def test_known_metrics_are_the_number_columns_of_the_tables() -> None:
    numbers = {name for name, kind in QUALITY_COLUMNS.items() if kind == pa.float64()}

    assert set(METRICS) == numbers - {"best_epoch"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    lambda children: st.lists(children) | st.dictionaries(st.text("abc", min_size=1), children),
    max_leaves=5,
)  # fmt: skip


@given(
    world_sizes=st.lists(st.integers(1, 64), min_size=1, unique=True),
    batch_axis=st.sampled_from(["per_worker_batch_size", "global_batch_size"]),
    batches=st.lists(st.integers(1, 4096), min_size=1, unique=True),
    rates=st.lists(st.floats(1e-12, 1e6), min_size=1, unique=True),
    clips=st.lists(st.none() | st.floats(1e-3, 10), min_size=1, unique=True),
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, unique=True),
    options=st.dictionaries(st.from_regex(r"[a-z_]{1,5}", fullmatch=True), json_values),
)
def test_the_resolved_file_reads_back_as_the_same_spec(
    world_sizes: list[int],
    batch_axis: str,
    batches: list[int],
    rates: list[float],
    clips: list[float | None],
    seeds: list[int],
    options: dict[str, Any],
) -> None:
    axes = {"world_size": world_sizes, batch_axis: batches, "learning_rate": rates}
    mapping = good(
        sweep={**axes, "max_gradient_norm": clips, "ddp": [{}, {"static_graph": True}]},
        seeds=seeds,
        workload_options=options,
    )
    spec = parse_spec(mapping)
    again = parse_spec(yaml(spec.to_yaml()))

    assert again.to_mapping() == spec.to_mapping()
    assert again.workload_options == options
    assert again.sweep.axes["learning_rate"] == tuple(rates)


WRONG_VALUES = [
    ("name", "../up", '"../up"', "a folder's name"),
    ("name", "", '""', "a folder's name"),
    ("workload", "no_attribute", '"no_attribute"', "module:attribute"),
    ("workload_options/k", math.nan, ".nan", "text, finite numbers"),
    ("sweep/world_size", [1, 0], "0", "a whole number from 1"),
    ("sweep/world_size", [], "[]", "a list of whole numbers from 1"),
    ("sweep/world_size", 2, "2", "a list of whole numbers from 1"),
    ("sweep/world_size", None, "nothing", "a list of whole numbers from 1"),
    ("sweep/per_worker_batch_size", [0], "0", "a whole number from 1"),
    ("sweep/per_worker_batch_size", [-32], "-32", "a whole number from 1"),
    ("sweep/per_worker_batch_size", ["32"], '"32"', "a whole number from 1"),
    ("sweep/per_worker_batch_size", [True], "true", "a whole number from 1"),
    ("sweep/per_worker_batch_size", [32.0], "32.0", "a whole number from 1"),
    ("sweep/per_worker_batch_size", [], "[]", "a list of whole numbers from 1"),
    ("sweep/learning_rate", [0.1, -1], "-1", "a finite number above 0"),
    ("sweep/learning_rate", [], "[]", "a list of values, each a finite number above 0"),
    ("sweep/schedule", ["cosine", "linear"], '"linear"', "constant or cosine"),
    ("sweep/ddp", [{"static_graph": 1}], "1", "true or false"),
    ("sweep/workload_options.k", [math.inf], ".inf", "text, finite numbers"),
    ("sweep/exclude", {"world_size": 1}, '{"world_size": 1}', "a list of cells"),
    ("seeds", 0, "0", "a count from 1"),
    ("seeds", [], "[]", "a count from 1"),
    ("seeds", True, "true", "a count from 1"),
    ("seeds", [0, -1], "-1", "a whole number from 0"),
    ("training", 3, "3", "a mapping with the keys epochs"),
    ("training/epochs", 0, "0", "null, or a finite number above 0"),
    ("training/learning_rate", math.inf, ".inf", "a finite number above 0"),
    ("training/learning_rate", "0.1", '"0.1"', "a finite number above 0"),
    ("training/learning_rate", True, "true", "a finite number above 0"),
    ("training/learning_rate_scaling", "cubic", '"cubic"', "none, linear or sqrt"),
    ("training/warmup_fraction", 2, "2", "auto, or a number from 0 to 1"),
    ("training/evaluations", 0, "0", "a whole number from 1"),
    ("training/record_every", 0, "0", "a whole number from 1"),
    ("training/compile", "yes", '"yes"', "true or false"),
    ("training/ddp/bucket_cap_mb", -1, "-1", "null, or a finite number above 0"),
    ("data/loader_workers", -1, "-1", "auto, or a whole number from 0"),
    ("data/pin_memory", 1, "1", "auto, true or false"),
    ("quality/target/accuracy", "high", '"high"', "a finite number"),
    ("quality/target/accuracy", 95, "95", "at most 1"),
    ("quality/margins/accuracy", -0.01, "-0.01", "a number above 0"),
    ("quality/margins/accuracy", 0, "0", "a number above 0"),
    ("quality/margins/accuracy", math.nan, ".nan", "a number above 0"),
    ("quality/margins/val_loss", "0%", '"0%"', "a number above 0"),
    ("quality/floors/recall[1]", 1.5, "1.5", "at most 1"),
    ("quality/decision_threshold", 1, "1", "a number between 0 and 1"),
    ("baseline", "smallest", '"smallest"', "auto, or a cell"),
    ("resources/device", "cuda", '"cuda"', "auto, cpu or gpu"),
    ("resources/max_workers", 0, "0", "null, or a whole number from 1"),
    ("resources/price_per_worker_hour", -1, "-1", "null, or a finite number of at least 0"),
    ("resources/start_timeout_s", 0, "0", "a finite number above 0"),
    ("probes", 1, "1", "true or false"),
]


@pytest.mark.parametrize(("path", "value", "received", "allowed"), WRONG_VALUES)
def test_a_wrong_value_is_shown_with_what_is_allowed(
    path: str, value: Any, received: str, allowed: str
) -> None:
    problem = only_problem(with_value(path, value))

    assert problem.key.partition("[")[0] == path.replace("/", ".").partition("[")[0]
    assert f"received {received}; allowed: {allowed}" in problem.message


UNKNOWN_KEYS = [
    ("nam", "name"),
    ("training/epochz", "epochs"),
    ("training/ddp/bucket_cap", "bucket_cap_mb"),
    ("sweep/world_sizes", "world_size"),
    ("sweep/learning_rat", "learning_rate"),
    ("data/loader_worker", "loader_workers"),
    ("quality/margin", "margins"),
    ("quality/margins/acuracy", "accuracy"),
    ("quality/target/perplexety", "perplexity"),
    ("quality/floors/recal", "recall"),
    ("resources/cpu_per_worker", "cpus_per_worker"),
    ("baseline/world", "world_size"),
]


@pytest.mark.parametrize(("path", "nearest"), UNKNOWN_KEYS)
def test_an_unknown_name_is_answered_with_the_nearest(path: str, nearest: str) -> None:
    messages = [problem.message for problem in problems(with_value(path, 0.5))]

    assert any(f'did you mean "{nearest}"? allowed: ' in message for message in messages)


def test_a_key_of_another_section_is_sent_home() -> None:
    problem = only_problem(good(learning_rate=0.1))

    assert "unknown key; it belongs under training" in problem.message


BROKEN_RULES = [
    ({"sweep/global_batch_size": [64]}, "received both per_worker_batch_size and"),
    ({"sweep/per_worker_batch_size": None}, "missing per_worker_batch_size or global_batch_size"),
    ({"training/samples": 1000}, "received both epochs and samples"),
    ({"sweep/samples": [1000]}, "received both epochs and samples"),
    ({"training/epochs": None}, "missing epochs"),
    ({"sweep/epochs": [1, None]}, "received null"),
    ({"training/reference_batch_size": None}, "received null with learning_rate_scaling: linear"),
    (
        {
            "training/learning_rate_scaling": "none",
            "sweep/learning_rate_scaling": ["none", "sqrt"],
            "training/reference_batch_size": None,
        },
        "received null with learning_rate_scaling: sqrt",
    ),
    (
        {"training/ddp/static_graph": True, "training/max_per_worker_batch_size": 8},
        "static graph fails when gradients are accumulated",
    ),
    ({"sweep/exclude": [{"world": 1}]}, 'did you mean "world_size"?'),
    ({"sweep/exclude": [{"optimizer": "sgd"}]}, "unknown key"),
    ({"sweep/exclude": [{}]}, "received no keys"),
    ({"baseline": {"seeds": 1}}, "unknown key"),
    ({"quality/margins/accuracy": "2%"}, "relative margins are for val_loss, perplexity"),
    ({"quality/margins/accuracy": 1}, "0.01 is one percentage point"),
    ({"quality/floors/accuracy[1]": 0.5}, 'is written "recall[1]"'),
    ({"quality/floors/val_loss": 0.5}, "better when lower"),
    ({"sweep/world_size": [1, 2, 1]}, "received 1 twice"),
    ({"sweep/learning_rate": [1, 1.0]}, "received 1.0 twice"),
    ({"sweep/ddp": [{}, {"static_graph": False}]}, "twice"),
    ({"sweep/workload_options.k": ["a", "a"]}, 'received "a" twice'),
    ({"seeds": [3, 3]}, "received 3 twice"),
    ({"sweep/workload_options.a b": [1]}, "no name of an argument"),
    ({"workload_options/a-b": 1}, "no name of an argument"),
]


@pytest.mark.parametrize(("changes", "message"), BROKEN_RULES)
def test_conditions_between_keys(changes: dict[str, Any], message: str) -> None:
    mapping = good()
    for path, value in changes.items():
        *above, key = path.split("/")
        section = mapping
        for name in above:
            section = section.setdefault(name, {})
        section[key] = value

    assert message in only_problem(mapping).message


@pytest.mark.parametrize(
    "margin",
    [{"perplexity": "2%"}, {"val_loss": "0.5%"}, {"metric_bleu": "10.0%"}, {"r2": 0.1}],
)
def test_margins_that_are_allowed(margin: dict[str, Any]) -> None:
    assert parse_spec(good(quality={"margins": margin})).quality.margins == margin


@pytest.mark.parametrize("floor", ["recall[1]", "recall[fraud]", "precision[0]", "accuracy"])
def test_floors_that_are_allowed(floor: str) -> None:
    assert parse_spec(good(quality={"floors": {floor: 0.8}})).quality.floors == {floor: 0.8}


@pytest.mark.parametrize("margin", ["recall[1]", "precision[fraud]"])
def test_a_margin_may_be_of_one_class(margin: str) -> None:
    assert parse_spec(good(quality={"margins": {margin: 0.02}})).quality.margins == {margin: 0.02}
    with pytest.raises(SpecError, match=r'a margin for one class is written "recall\[1\]"'):
        parse_spec(good(quality={"margins": {"accuracy[1]": 0.02}}))


def test_metrics_that_the_task_lacks_are_refused(write: Write) -> None:
    spec = load_spec(write(GOOD + "quality:\n  margins: {accuracy: 0.01}\n  floors: {r2: 0.5}\n"))

    spec.require_metrics(["accuracy", "r2"])
    with pytest.raises(SpecError, match=r"sweep.yaml:11: quality.floors.r2: .*no such metric"):
        spec.require_metrics(["accuracy", "recall"])


@pytest.mark.parametrize("section", ["margins", "floors"])
def test_classes_that_the_task_lacks_are_refused(section: str) -> None:
    classes = ["fraud", "ok"]
    for right in ("fraud", "ok", "0", "1"):
        spec = parse_spec(good(quality={section: {f"recall[{right}]": 0.5}}))
        spec.require_metrics(["recall"], classes)
    for wrong, said in {
        "frauds": 'did you mean "fraud"',
        "xyz": "fraud, ok",
        "2": "0 to 1",
    }.items():
        spec = parse_spec(good(quality={section: {f"recall[{wrong}]": 0.5}}))
        with pytest.raises(SpecError, match=f'no class "{wrong}".*{said}'):
            spec.require_metrics(["recall"], classes)


def test_every_problem_is_listed_with_its_line_in_the_order_of_the_file(write: Write) -> None:
    file = write(
        "name: digits\n"
        "workload: ddp_sweep.workloads.digits:Digits\n"
        "sweep:\n"
        "  world_size: [1,\n"
        "               0]\n"
        "  per_worker_batch_size: [32]\n"
        "  global_batch_size: ['64']\n"
        "training:\n"
        "  epochz: 8\n"
        "  learning_rate: 0.05\n"
        "  learning_rate: 0.06\n"
        "quality: {margins: {acuracy: 0.1}}\n"
    )
    with pytest.raises(SpecError) as caught:
        load_spec(file)

    assert [(problem.line, problem.key) for problem in caught.value.problems] == [
        (5, "sweep.world_size[1]"),
        (7, "sweep.global_batch_size"),
        (7, "sweep.global_batch_size[0]"),
        (8, "training"),
        (9, "training.epochz"),
        (11, "training.learning_rate"),
        (12, "quality.margins.acuracy"),
    ]
    assert str(caught.value).count(f"{file}:") == 7


def test_the_form_of_a_message(write: Write) -> None:
    file = write(GOOD.replace("epochs: 8", "epochs: 8\n  sampels: 3"))
    with pytest.raises(SpecError) as caught:
        load_spec(file)

    assert str(caught.value).startswith(
        f'{file}:8: training.sampels: unknown key; did you mean "samples"? allowed: epochs, '
    )


UNREADABLE = [
    (b"", "the file is empty"),
    (b"# only a comment\n", "the file is empty"),
    (b"- 1\n- 2\n", ":1: received a list; allowed: a mapping"),
    (b"a: [1\n", ":2: not valid YAML"),
    (b"a: 1\nb: {\n", ":3: not valid YAML"),
    (b"a: 1\n---\nb: 2\n", "not valid YAML"),
    (b"a: !!python/object:os.system {}\n", ":1: not valid YAML"),
    (b"a: \x07\n", "not valid YAML"),
    (b"\xff\xfe\x00", "not a text file in UTF-8"),
]


@pytest.mark.parametrize(("content", "message"), UNREADABLE)
def test_what_is_no_sweep_file(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load_spec(file)

    assert str(caught.value).startswith(str(file))
    assert message in str(caught.value)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="this is a folder"):
        load_spec(tmp_path)
    with pytest.raises(SpecError, match="No such file"):
        load_spec(tmp_path / "missing.yaml")


def test_a_value_that_holds_itself_is_refused(write: Write) -> None:
    with pytest.raises(SpecError, match="workload_options"):
        load_spec(write(GOOD + "workload_options: &all {again: *all}\n"))


def test_overrides_are_read_as_yaml_and_win(write: Write) -> None:
    spec = load_spec(
        write(GOOD),
        [
            "training.epochs=2.5",
            "sweep.per_worker_batch_size=null",
            "sweep.global_batch_size=[64, 256]",
            "sweep.workload_options.channels=[8, 16]",
            "workload_options.hidden=null",
            "quality.floors.recall[1]=0.8",
            "baseline.world_size=1",
            "seeds=[4]",
        ],
    )

    assert spec.training.epochs == 2.5
    assert spec.sweep.global_batch_size == (64, 256)
    assert spec.sweep.axes == {"workload_options.channels": (8, 16)}
    assert spec.workload_options == {"hidden": None}
    assert spec.quality.floors == {"recall[1]": 0.8}
    assert spec.baseline == {"world_size": 1}
    assert spec.seeds == (4,)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochz=3", '--set: training.epochz: unknown key; did you mean "epochs"?'),
        ("seeds=0", "--set: seeds: received 0; allowed: a count"),
        ("training.epochs", '--set: received "training.epochs"; allowed: key=value'),
        ("=3", '--set: received "=3"; allowed: key=value'),
        ("training..epochs=3", "allowed: key=value"),
        ("seeds=[1", "--set: seeds: not valid YAML"),
        ("name.x=1", "--set: name.x: name holds a single value, no keys"),
        ("sweep.world_size=[0]", "--set: sweep.world_size[0]: received 0"),
    ],
)
def test_a_bad_override_names_its_source(write: Write, override: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(write(GOOD), [override])

    [problem] = caught.value.problems
    assert message in str(problem)
