"""Make the pictures of the documentation: ``python -m tests.screenshots URL USER PASSWORD VIDEO``.

The server of the demo must run (``script/demo``). The pictures show what its functions really
answer. The script creates a task from the photographs of the demo and another one from a video.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

REPOSITORY = Path(__file__).resolve().parent.parent
IMAGES = REPOSITORY / "cvat_lambda" / "server" / "photographs"
FOLDER = REPOSITORY / "docs" / "images"
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png")  # in the order of the frames
SIZE = (1200, 760)
SHOWN_WIDTH = 1000  # pixels, of a picture in the documentation

expect.set_options(timeout=120_000)


def save(page: Page, name: str) -> None:
    """Save what the browser shows as a small JPEG."""
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        height = shot.height * SHOWN_WIDTH // shot.width
        small = shot.convert("RGB").resize((SHOWN_WIDTH, height), Image.Resampling.LANCZOS)
        small.save(FOLDER / f"{name}.jpg", quality=72, optimize=True)


def create(page: Page, name: str, files: list[Path], function: str) -> None:
    """Create a task with the labels of a function."""
    page.goto("/tasks/new")
    page.get_by_label("or choose files").set_input_files(files)
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Take the labels of a function").select_option(function)
    if name == "Table":
        save(page, "workbench-new-task")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_text("More")).to_be_visible()


def on_frame(page: Page, x: float, y: float) -> tuple[float, float]:
    """Return a place of the frame, given in shares of its size, on the screen."""
    place = page.locator("#canvas svg > image").bounding_box()
    assert place is not None
    return place["x"] + x * place["width"], place["y"] + y * place["height"]


def photographs(page: Page) -> None:
    """Preview, run, click."""
    create(page, "Table", [IMAGES / name for name in PHOTOGRAPHS], "openvino-nanodet-coco")
    page.get_by_role("link", name="Run a function").click()
    page.get_by_label("Frames", exact=True).fill("0, 1")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview figcaption").nth(1)).to_contain_text("found")
    page.get_by_role("slider", name="Confidence threshold").fill("0.4")
    page.wait_for_timeout(500)
    save(page, "console-start")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("[data-badge]").first).to_have_text("finished")
    save(page, "console-request")
    page.goto(page.get_by_role("link", name="task #").get_attribute("href") or "/")
    page.locator(".frames a").nth(PHOTOGRAPHS.index("coffee.png")).click()
    page.get_by_role("button", name="Click").click()
    page.locator("#label").select_option(label="cup")
    for _ in range(2):  # the first click starts the function and makes the embedding
        page.keyboard.press("Escape")
        page.mouse.click(*on_frame(page, 0.45, 0.3))
        expect(page.locator("#keep")).to_be_enabled()
    save(page, "workbench-click")
    page.keyboard.press("Enter")


def video(page: Page, path: Path) -> None:
    """Track an object."""
    create(page, "Film", [path], "openvino-nanodet-coco")
    page.locator(".frames a").first.click()
    page.get_by_role("button", name="Track").click()
    page.locator("#label").select_option(label="cup")
    page.mouse.move(*on_frame(page, 0.35, 0.02))
    page.mouse.down()
    page.mouse.move(*on_frame(page, 0.5, 0.5), steps=3)
    page.mouse.move(*on_frame(page, 0.87, 0.68))
    page.mouse.up()
    expect(page.locator("#state")).to_contain_text("Tracked to frame")
    save(page, "workbench-track")
    page.keyboard.press("Enter")


def main(url: str, user: str, password: str, film: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page(base_url=url, viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto("/login")
        page.get_by_label("Username").fill(user)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        photographs(page)
        video(page, Path(film))
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:5])
