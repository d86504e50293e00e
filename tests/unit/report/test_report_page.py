"""The page: what stands on it, that it is one closed file, and that it is right in odd cases."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from page_parser import Page, read_page
from report_samples import TARGET, loaded, many_cells, measured, write_results
from trials_frame import Cell, mlperf

from ddp_sweep.cli import main
from ddp_sweep.report.page import Report, build_report

ROOT = Path(__file__).parents[3]
MARGINS: dict[str, float | str] = {"accuracy": 0.01}
EVIL = "</script><img src=x onerror=alert(1)>\"'&"
SPEC = f"""\
name: digits
workload: ddp_sweep.workloads.digits:Digits
workload_options: {{note: {json.dumps(EVIL)}}}
sweep: {{world_size: [1, 2], global_batch_size: [64, 128]}}
seeds: 5
training: {{epochs: 8, learning_rate: 0.05, reference_batch_size: 64}}
quality: {{margins: {{accuracy: 0.01}}}}
"""
SIXTY = [
    Cell(world_size=size, batch=batch, seconds=24 / size**0.85 / (1 + batch / 400))
    for size in (1, 2, 4, 8)
    for batch in (64, 128, 256)
]


def _grid() -> Report:
    records = measured(SIXTY)
    for record in records:
        record["communication_fraction"] = 0.03 * record["world_size"]
        if record["configuration_id"] == "w8b256":
            record.update(status="out_of_memory", status_detail="asked for 90 GiB")
            record.update(train_time_s=None, time_to_target_s=None, samples_to_target=None)
    return build_report(loaded(records), margins=MARGINS, target=TARGET)


def _hostile() -> Report:
    cells = [
        Cell(
            world_size=size,
            batch=64,
            seconds=10 / size,
            columns={
                "configuration_id": f"{optimizer}{size}",
                "parameters": json.dumps({"optimizer": optimizer}),
                "sweep": EVIL,
                "device_name": EVIL,
            },
        )
        for size in (1, 2)
        for optimizer in (EVIL, "sgd")
    ]
    records = measured(cells)
    for place, record in enumerate(records):
        record["trial_id"] = f"trial{place}"
        record["class_names"] = [EVIL, "dog & cat", "bird"]
        record["per_class_recall"] = [1.0, 1.0, 1.0]
    records[0].update(status="diverged", status_detail=EVIL, train_time_s=None)
    return build_report(loaded(records), margins=MARGINS)


def _none_qualifies() -> Report:
    cells = [
        Cell(world_size=1, batch=64, accuracy=0.6),
        Cell(world_size=2, batch=64, seconds=5, accuracy=0.5),
    ]
    return build_report(
        loaded(measured(cells, target=False)), margins=MARGINS, floors={"accuracy": 0.9}
    )


def _failures_everywhere() -> Report:
    records = measured([Cell(world_size=size, batch=64) for size in (1, 2, 4)])
    measurements = ("train_time_s", "time_to_target_s", "samples_to_target", "accuracy", "recall")
    more = ("val_loss", "confusion_matrix", "data_wait_fraction", "throughput_samples_per_s")
    nothing = dict.fromkeys([*measurements, *more])
    for record in records:
        record.update(nothing, status="diverged", status_detail="the loss is not finite")
    return build_report(loaded(records), margins=MARGINS)


REPORTS: dict[str, Callable[[], Report]] = {
    "60 trials": _grid,
    "hostile names": _hostile,
    "none qualifies": _none_qualifies,
    "failures in every cell": _failures_everywhere,
    "one configuration": lambda: build_report(
        loaded(measured([Cell(world_size=1, batch=64)], target=False)), margins=MARGINS
    ),
    "200 configurations": lambda: build_report(
        loaded(measured(many_cells(200), seeds=3)), margins=MARGINS, target=TARGET
    ),
    "another tool, lost runs": lambda: build_report(mlperf("C_resnet_nvidia_8_4216")),
    "another tool": lambda: build_report(
        mlperf("I_rnnt_hpe_8_128"), margins={"samples_to_target": "10%"}
    ),
}


@functools.cache
def report(name: str) -> Report:
    return REPORTS[name]()


@functools.cache
def html(name: str) -> str:
    return report(name).html()


@functools.cache
def page(name: str) -> Page:
    return read_page(html(name))


@pytest.mark.parametrize("name", REPORTS)
def test_the_page_loads_nothing(name: str) -> None:
    for element in page(name).elements:
        for attribute, value in element.attributes.items():
            assert attribute not in ("src", "srcset", "data", "action", "poster", "style"), element
            assert not attribute.startswith("on"), element
            if attribute in ("href", "xlink:href"):
                assert value.startswith("#"), element
            if "url(" in value:
                assert re.fullmatch(r"url\(#[\w-]+\)", value), element
    assert not [e.tag for e in page(name).elements if e.tag in ("link", "iframe", "img", "object")]
    assert "@import" not in page(name).all("style")[0].text
    assert "url(" not in page(name).all("style")[0].text


@pytest.mark.parametrize("name", REPORTS)
def test_the_policy_allows_the_one_script_and_the_one_style_alone(name: str) -> None:
    found = page(name)
    (meta,) = [e for e in found.all("meta") if "http-equiv" in e.attributes]
    policy = dict(part.strip().split(" ", 1) for part in meta.attributes["content"].split(";"))

    assert policy["default-src"] == "'none'"
    for directive, tag in (("script-src", "script"), ("style-src", "style")):
        (only,) = found.all(tag)
        digest = base64.b64encode(hashlib.sha256(only.text.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"


@pytest.mark.parametrize("name", REPORTS)
def test_ids_are_unique_and_what_is_referred_to_exists(name: str) -> None:
    found = page(name)
    ids = [e.attributes["id"] for e in found.elements if "id" in e.attributes]

    assert len(ids) == len(set(ids))
    referred = {e.attributes["href"][1:] for e in found.all("a")}
    for element in found.elements:
        for attribute in ("aria-labelledby", "aria-describedby"):
            referred |= set(element.attributes.get(attribute, "").split())
        referred |= set(re.findall(r"url\(#([\w-]+)\)", " ".join(element.attributes.values())))
    assert referred <= set(ids)


@pytest.mark.parametrize("name", REPORTS)
def test_every_chart_has_a_finding_and_a_text_alternative(name: str) -> None:
    found = page(name)
    charts = found.all("svg")

    assert len(charts) == len(report(name).page().figures) == len(found.all("figure"))
    for chart in charts:
        assert chart.attributes["role"] == "img"
        title = found.by_id(chart.attributes["aria-labelledby"])
        assert title.tag == "figcaption" and title.text.strip()
        assert found.by_id(chart.attributes["aria-describedby"]).text.strip()


@pytest.mark.parametrize("name", REPORTS)
def test_colours_follow_the_page_but_for_shades_with_their_own_text(name: str) -> None:
    from ddp_sweep.report.page.palette import FIXED, SCHEME

    variables = {f"var(--{variable})" for variable, _ in SCHEME.values()}
    allowed = {"none", "transparent", *variables, *FIXED}
    inside = {element.attributes.get("id") for element in page(name).all("figure")}
    for element in page(name).elements:
        if inside & set(element.inside):
            for attribute in ("fill", "stroke"):
                assert element.attributes.get(attribute, "none") in allowed


@pytest.mark.parametrize("name", REPORTS)
def test_the_tables_hold_every_configuration_and_every_trial(name: str) -> None:
    material = report(name).material

    configurations = page(name).all("tr", inside="configuration-table")
    trials = page(name).all("tr", inside="trial-table")

    assert len(configurations) == 1 + len(material.entries)
    assert len(trials) == 1 + len(material.attempts)
    for row in page(name).all("th", inside="configuration-table"):
        assert row.attributes["scope"] in ("col", "row")
    names = page(name).texts("th", inside="configuration-table")
    for entry in material.entries:
        assert " ".join(entry.name.split()) in names


@pytest.mark.parametrize("name", REPORTS)
def test_no_internal_word_reaches_a_reader(name: str) -> None:
    text = page(name).all("main")[0].text

    assert not re.search(r"\b(None|nan|NaN|inf|<NA>)\b", text)
    assert not re.search(r"\b(gangs?|lanes?|holm|welch|fisher|non.inferior)\b", text.lower())
    assert "Outcome." not in text and "Verdict." not in text


def test_the_answer_stands_first_and_is_one_sentence_with_all_that_matters() -> None:
    found = page("60 trials")
    ranking = report("60 trials").material.ranking
    fastest = ranking.recommendation.fastest
    assert fastest is not None and fastest is not ranking.baseline
    assert fastest.speedup and fastest.speedup_low and fastest.speedup_high and fastest.cost_ratio

    headings = [e for e in found.elements if e.tag in ("h1", "h2", "h3")]
    (first,) = found.texts("h1")

    assert headings[0].tag == "h1"
    assert f"{fastest.world_size} workers" in first
    assert f"batches of {fastest.per_worker_batch_size}" in first
    assert f"{fastest.speedup:.2f} times as fast as {ranking.baseline.name}" in first
    assert f"{fastest.speedup_low:.2f} to {fastest.speedup_high:.2f}" in first
    assert "quality held" in first
    assert f"{fastest.cost_ratio:.2f} times its cost" in first


def test_the_sections_and_the_charts_stand_in_the_order_of_an_argument() -> None:
    found = page("60 trials")

    sections = [e.attributes["id"] for e in found.all("section")]
    figures = [e.attributes["id"] for e in found.all("figure")]

    assert sections == [
        "answer",
        "findings",
        "configurations",
        "evidence",
        "trials",
        "environment",
    ]
    assert figures == [
        "speedup",
        "efficiency",
        "quality",
        "samples",
        "tradeoff",
        "losses",
        "step-time",
        "confusion",
    ]


def test_a_page_of_60_trials_is_small_enough_for_an_email() -> None:
    assert len(report("60 trials").material.attempts) == 60
    assert len(html("60 trials").encode()) < 1_500_000


def test_hostile_text_is_shown_as_text() -> None:
    found = page("hostile names")

    assert len(found.all("script")) == 1
    assert not found.all("img")
    assert EVIL in found.texts("h1")[0]
    drawn = " ".join(found.texts("text"))
    assert EVIL in drawn
    assert EVIL in found.all("table")[1].text
    assert EVIL in found.all("dl", inside="environment")[0].text


def test_where_none_qualifies_the_page_says_so() -> None:
    ranking = report("none qualifies").material.ranking
    assert ranking.recommendation.fastest is None

    (first,) = page("none qualifies").texts("h1")

    assert first.startswith("Nothing to recommend yet: no configuration qualifies")
    assert "no recommendation yet" in page("none qualifies").texts("p", inside="answer")


def test_where_everything_failed_the_page_says_so_without_empty_charts() -> None:
    found = page("failures in every cell")

    assert found.texts("h1")[0].startswith("Nothing to recommend yet: no speedup")
    assert not found.all("svg")
    assert len(found.all("li", inside="left-out")) == 8
    outcomes = found.texts("td", inside="configuration-table")
    assert sum("did not finish" in text for text in outcomes) == 3
    assert any("5 of 5 diverged" in text for text in outcomes)


def test_a_single_configuration_is_not_compared_with_others() -> None:
    found = page("one configuration")

    assert "it is the only configuration that was run" in found.texts("h1")[0]
    assert any("only one was measured" in text for text in found.texts("li", inside="left-out"))


def test_with_200_configurations_the_page_says_which_are_in_colour() -> None:
    found = page("200 configurations")

    assert any("7 of 200 configurations are in colour" in t for t in found.texts("p", "evidence"))
    legend = [text for text in found.texts("text", inside="speedup") if "worker" in text]
    assert len(legend) == 7 + 1  # and the title of the axis
    assert "other configurations" in found.texts("text", inside="speedup")


def test_runs_of_another_tool_that_missed_the_target_are_counted() -> None:
    found = page("another tool, lost runs")

    ended = found.texts("td", inside="trial-table")
    missed = int((~mlperf("C_resnet_nvidia_8_4216")["converged"]).sum())
    assert ended.count("missed the target") == missed == 1
    assert any("1 run failed or never met the target" in t for t in found.texts("li"))


def test_every_attempt_is_listed_and_only_the_last_one_counts() -> None:
    records = measured([Cell(world_size=1, batch=64), Cell(world_size=2, batch=64)], target=False)
    lost = records[3] | {"status": "worker_died", "status_detail": "signal 9", "accuracy": None}
    records[3] = records[3] | {"attempt": 2}
    found = build_report(loaded([*records, lost]), margins=MARGINS).page()

    assert len(found.trials.rows) == 11
    titles = [column.title for column in found.trials.columns]
    place = titles.index("attempt")
    ends = [(row.cells[1].text, row.cells[place].text) for row in found.trials.rows]
    assert ends.count(("worker died", "1")) == 1
    assert ends.count(("finished", "2")) == 1
    assert found.answer.facts[-1].value == "10 of 10"


def test_figures_that_others_fill_in_are_shown_where_they_are_known() -> None:
    import dataclasses

    from ddp_sweep.report.page.tables import configuration_table
    from ddp_sweep.report.view import view_ranking

    material = report("60 trials").material
    ranking = material.ranking

    def filled(entry: object) -> object:
        metrics = {
            name: dataclasses.replace(found, population_low=-0.031, population_high=0.029)
            for name, found in entry.metrics.items()  # type: ignore[attr-defined]
        }
        return dataclasses.replace(entry, seeds_needed=23, metrics=metrics)  # type: ignore[type-var]

    changed = dataclasses.replace(
        ranking,
        configurations=tuple(map(filled, ranking.configurations)),
    )
    table = configuration_table(
        dataclasses.replace(material, ranking=changed), view_ranking(changed)
    )

    titles = [column.title for column in table.columns]
    row = table.rows[0]
    assert row.cells[titles.index("seeds needed to decide")].text == "23"
    population = row.cells[titles.index("with the sampling error of the validation set")].text
    assert "[-0.031, +0.029]" in population
    before = [column.title for column in report("60 trials").page().configurations.columns]
    assert "seeds needed to decide" not in before


def test_plots_are_titled_pictures_on_white(tmp_path: Path) -> None:
    made = report("60 trials")

    files = made.write_plots(tmp_path / "plots")

    figures = made.page().figures
    assert len(files) == 2 * len(figures) == 16
    for file in files:
        content = file.read_bytes()
        if file.suffix == ".png":
            assert content.startswith(b"\x89PNG")
        else:
            root = ET.fromstring(content)
            assert root.tag.endswith("svg") and float(root.attrib["width"]) > 200
            drawn = " ".join("".join(e.itertext()) for e in root.iter() if e.tag.endswith("text"))
            (figure,) = [f for f in figures if f.key == file.stem.replace("_", "-")]
            assert figure.title.split()[0] in drawn
            assert "var(" not in content.decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cells = [Cell(world_size=size, batch=batch // size) for size in (1, 2) for batch in (64, 128)]
    path = tmp_path_factory.mktemp("results") / "digits"
    write_results(path, measured(cells, target=False), SPEC)
    return path


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["ddp-sweep", "report", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_a_folder_becomes_a_page_in_it_with_the_sweep_file_as_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(monkeypatch, folder) == 0

    shown = capsys.readouterr()
    written = folder / "report.html"
    assert shown.out.strip() == str(written)
    found = read_page(written.read_text(encoding="utf-8"))
    assert found.all("pre")[0].text.strip() == SPEC.strip()
    assert "ddp-sweep run sweep.yaml" in found.texts("code")
    assert {"speedup", "losses"} <= {e.attributes["id"] for e in found.all("figure")}


def test_a_table_of_another_tool_becomes_a_page_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "runs.csv"
    mlperf("I_rnnt_hpe_8_128").to_csv(table, index=False)

    assert run_cli(monkeypatch, table, "--plots", tmp_path / "plots") == 0

    shown = capsys.readouterr()
    assert shown.out.strip() == str(tmp_path / "runs-report.html")
    assert read_page((tmp_path / "runs-report.html").read_text(encoding="utf-8")).all("svg")
    assert (tmp_path / "plots" / "speedup.svg").is_file()
    assert (tmp_path / "plots" / "speedup.png").is_file()


def test_what_cannot_be_reported_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(monkeypatch, tmp_path / "nowhere") == 2

    shown = capsys.readouterr()
    assert shown.err.startswith("error: no results folder at")
    assert "Traceback" not in shown.err


def test_a_file_that_cannot_be_written_is_one_message(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(monkeypatch, folder, "--output", folder / "_sweep.yaml" / "report.html") == 2

    assert "cannot be written" in capsys.readouterr().err


def test_a_report_needs_neither_torch_nor_ray(folder: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from ddp_sweep.report.page import build_report; from pathlib import Path; "
        f"build_report({str(folder)!r}).write(Path({str(tmp_path / 'r.html')!r})); "
        "print([m for m in ('torch', 'ray') if m in sys.modules])"
    )

    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert shown.stdout.strip() == "[]"
    assert (tmp_path / "r.html").is_file()
