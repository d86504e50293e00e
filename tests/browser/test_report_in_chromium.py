"""The report as a reader opens it: from a file, in a browser, with and without a script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import ChromiumMissingError, start_chromium
from report_samples import TARGET, loaded, many_cells, measured
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from trials_frame import Cell, mlperf

from ddp_sweep.report.page import Report, build_report

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
MARGINS: dict[str, float | str] = {"accuracy": 0.01}
EVIL = "</script><img src=http://127.0.0.1:9/x onerror=console.error(1)>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    try:
        found = start_chromium(tmp_path_factory.mktemp("profile"))
    except ChromiumMissingError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    yield found
    found.quit()


def _grid() -> Report:
    cells = [
        Cell(world_size=size, batch=batch, seconds=20 / size**0.8 / (1 + batch / 400))
        for size in (1, 2, 4, 8)
        for batch in (64, 128, 256)
    ]
    records = measured(cells)
    records[7].update(status="out_of_memory", status_detail=EVIL, train_time_s=None)
    for record in records:
        record["parameters"] = json.dumps({"optimizer": EVIL})
        record["class_names"] = [EVIL, "dog", "bird"]
    return build_report(loaded(records), margins=MARGINS, target=TARGET)


REPORTS = {
    "60 trials": _grid,
    "200 configurations": lambda: build_report(
        loaded(measured(many_cells(200), seeds=3)), margins=MARGINS, target=TARGET
    ),
    "MLPerf RNN-T": lambda: build_report(
        mlperf("I_rnnt_hpe_8_128"), margins={"samples_to_target": "10%"}
    ),
    "MLPerf ResNet": lambda: build_report(mlperf("C_resnet_nvidia_8_4216")),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    found = {}
    for number, (name, build) in enumerate(REPORTS.items()):
        found[name] = folder / f"{number}.html"
        build().write(found[name])
    return found


def open_page(browser: webdriver.Chrome, page: Path, **media: str) -> None:
    """Open a page afresh, with the colour scheme or the medium given."""
    scheme = {"name": "prefers-color-scheme", "value": media.get("scheme", "light")}
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"media": media.get("medium", ""), "features": [scheme]}
    )
    browser.get(page.as_uri())


def requests(browser: webdriver.Chrome) -> list[str]:
    """Addresses asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


def assert_drawn_and_quiet(browser: webdriver.Chrome, page: Path, charts: int) -> None:
    requests(browser)
    browser.get_log("browser")
    open_page(browser, page)
    assert browser.get_log("browser") == []
    assert requests(browser) == [page.as_uri()]
    drawn: list[dict[str, Any]] = browser.execute_script(
        """return [...document.querySelectorAll("figure svg")].map(svg => {
            const box = svg.getBoundingClientRect();
            const marks = [...svg.querySelectorAll("[class*=mark-] path, [class*=mark-] line")];
            const sizes = marks.map(mark => mark.getBoundingClientRect());
            return {width: box.width, height: box.height,
                    marks: sizes.filter(size => size.width + size.height > 1).length};
        })"""
    )
    assert len(drawn) == charts
    for chart in drawn:
        assert chart["width"] > 150 and chart["height"] > 80 and chart["marks"] > 2
    assert browser.execute_script("return document.images.length") == 0


@pytest.mark.parametrize(
    ("name", "charts"),
    [("60 trials", 8), ("200 configurations", 8), ("MLPerf RNN-T", 4), ("MLPerf ResNet", 4)],
)
def test_every_chart_is_drawn_without_an_error_or_a_request(
    browser: webdriver.Chrome, pages: dict[str, Path], name: str, charts: int
) -> None:
    assert_drawn_and_quiet(browser, pages[name], charts)


# A local Ray is started and ended; a busy machine takes minutes over that.
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["quickstart", "fraud"])
def test_a_sweep_that_was_really_run_is_drawn(
    browser: webdriver.Chrome, tmp_path: Path, name: str
) -> None:
    program = [sys.executable, "-c", "from ddp_sweep.cli import main; main()"]
    folder = tmp_path / name
    short = ("--set", "seeds=2", "--set", "training.epochs=1", "--progress", "none")
    sweep = [*program, "run", f"sweeps/{name}.yaml", "--output", str(folder), *short]
    subprocess.run(sweep, cwd=ROOT, check=True, capture_output=True)
    subprocess.run([*program, "report", str(folder)], cwd=ROOT, check=True, capture_output=True)

    # No target is set in these sweeps, so there is no chart of the samples to it.
    assert_drawn_and_quiet(browser, folder / "report.html", charts=7)


def column(browser: webdriver.Chrome, table: str, title: str) -> tuple[WebElement, int]:
    headings = browser.find_elements(By.CSS_SELECTOR, f"#{table} thead th")
    (place,) = [n for n, heading in enumerate(headings) if heading.text.startswith(title)]
    return headings[place], place


def cells(browser: webdriver.Chrome, table: str, place: int) -> list[str]:
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(row => "
        "row.cells[arguments[1]].textContent.trim())",
        f"#{table} tbody tr",
        place,
    )
    return found


def test_a_table_sorts_by_click_and_by_keyboard_with_unknown_last(
    browser: webdriver.Chrome, pages: dict[str, Path]
) -> None:
    open_page(browser, pages["60 trials"])
    heading, place = column(browser, "trial-table", "training, s")
    button = heading.find_element(By.TAG_NAME, "button")
    before = cells(browser, "trial-table", place)
    times = [float(text) for text in before if text]
    assert len(times) == 59 and times != sorted(times)

    button.click()

    assert heading.get_attribute("aria-sort") == "ascending"
    after = cells(browser, "trial-table", place)
    assert [float(text) for text in after[:-1]] == sorted(times)
    assert after[-1] == ""

    browser.execute_script("arguments[0].focus()", button)
    browser.switch_to.active_element.send_keys(Keys.ENTER)

    assert heading.get_attribute("aria-sort") == "descending"
    after = cells(browser, "trial-table", place)
    assert [float(text) for text in after[:-1]] == sorted(times, reverse=True)
    assert after[-1] == ""
    said = browser.find_element(By.ID, "sorted").get_attribute("textContent")
    assert said == "Sorted by training, s, descending."


def test_the_whole_page_can_be_walked_by_keyboard(
    browser: webdriver.Chrome, pages: dict[str, Path]
) -> None:
    open_page(browser, pages["60 trials"])
    reached = []
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    for _ in range(60):
        focused = browser.switch_to.active_element
        reached.append((focused.tag_name, focused.text))
        focused.send_keys(Keys.TAB)

    assert reached[0] == ("a", "Skip to the answer")
    tags = {tag for tag, _ in reached}
    assert {"a", "button", "summary", "div"} <= tags


def test_it_can_be_read_without_a_script(
    browser: webdriver.Chrome, pages: dict[str, Path]
) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(browser, pages["60 trials"])
        assert browser.find_element(By.TAG_NAME, "h1").text.startswith("Train with")
        assert len(browser.find_elements(By.CSS_SELECTOR, "#trial-table tbody tr")) == 60
        assert len(browser.find_elements(By.CSS_SELECTOR, "figure svg")) == 8
        assert not browser.find_elements(By.CSS_SELECTOR, "thead button")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def brightness(browser: webdriver.Chrome, selector: str, name: str) -> float:
    """Mean of the channels of a computed colour, 0 to 255."""
    colour: str = browser.execute_script(
        "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]",
        selector,
        name,
    )
    channels = colour.partition("(")[2].rstrip(")").split(",")[:3]
    return sum(map(float, channels)) / 3


def test_dark_is_dark_also_inside_the_charts(
    browser: webdriver.Chrome, pages: dict[str, Path]
) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        open_page(browser, pages["60 trials"], scheme=scheme)
        ground = brightness(browser, "body", "backgroundColor")
        inks = [brightness(browser, "h1", "color"), brightness(browser, "svg text", "fill")]
        seen[scheme] = (ground, inks)

    assert seen["light"][0] > 200 and max(seen["light"][1]) < 120
    assert seen["dark"][0] < 60 and min(seen["dark"][1]) > 140


def test_print_is_light_and_shows_every_row(
    browser: webdriver.Chrome, pages: dict[str, Path]
) -> None:
    open_page(browser, pages["60 trials"], scheme="dark", medium="print")

    assert brightness(browser, "body", "backgroundColor") > 200
    assert not browser.find_element(By.TAG_NAME, "nav").is_displayed()
    cut: list[str] = browser.execute_script(
        """return [...document.querySelectorAll(".scroll, pre")]
            .filter(box => getComputedStyle(box).overflowY !== "visible").map(box => box.id)"""
    )
    assert cut == []


@pytest.mark.parametrize("width", [1200, 400])
def test_the_page_itself_never_scrolls_sideways(
    browser: webdriver.Chrome, pages: dict[str, Path], width: int
) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        open_page(browser, pages["60 trials"])
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
