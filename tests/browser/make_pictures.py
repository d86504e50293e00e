"""Make the pictures of the README anew from a results folder of the quickstart.

    python tests/browser/make_pictures.py results/quickstart

Run the quickstart on a machine that does nothing else. Both pictures are kept below 100 kB.
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chromium import start_chromium

from ddp_sweep.report.page import build_report

PICTURES = Path(__file__).parents[2] / "ddp_sweep" / "report" / "page" / "pictures"
MOST_BYTES = 100_000
WIDTH, HEIGHT = 1100, 640


def main() -> None:
    """Draw the speedup chart as SVG, and the report's first screen as PNG."""
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    report = build_report(parser.parse_args().results)
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        report.write_plots(folder / "plots")
        speedup = (folder / "plots" / "speedup.svg").read_bytes()
        report.write(folder / "report.html")
        screen = first_screen(folder / "report.html", folder / "profile")
    for name, content in (("speedup.svg", speedup), ("report.png", screen)):
        assert len(content) < MOST_BYTES, f"{name} has {len(content):,} bytes"
        (PICTURES / name).write_bytes(content)
        print(f"{PICTURES / name}: {len(content):,} bytes")


def first_screen(page: Path, profile: Path) -> bytes:
    """PNG of what one sees on opening the page."""
    browser = start_chromium(profile)
    try:
        browser.get(page.as_uri())
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "scale": 0.8}
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip})
        return base64.b64decode(shot["data"])
    finally:
        browser.quit()


if __name__ == "__main__":
    main()
