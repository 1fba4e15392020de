"""Make the pictures of README and docs, and write the measured times of clicks.

``script/screenshots`` starts a standalone server with three packaged functions, opens it in
Chromium, and stops it. The pictures show what the functions really answer. A task is made of the
photographs of the demo, and another one of a video, a pan over one of them.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import django
import numpy as np
from PIL import Image
from playwright.sync_api import Page, Response, expect, sync_playwright

from cvat_lambda.server.client import Client
from cvat_lambda.server.demo import wait_for_function
from cvat_lambda.server.services import Options, Services
from tests import browser

REPOSITORY = Path(__file__).resolve().parent.parent
IMAGES = REPOSITORY / "cvat_lambda" / "server" / "photographs"
FOLDER = REPOSITORY / "docs" / "images"
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png")  # in the order of the frames
SIZE = (1200, 760)
SHOWN_WIDTH = 1000  # pixels, of a picture in the documentation
FUNCTIONS: Final = (
    "openvino-nanodet-coco",
    "openvino-mobile-sam",
    "openvino-siamese-mobilenetv2",
)
FILM_FRAMES: Final = 24

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


def is_prepared(response: Response) -> bool:
    """Return whether this is the answer to the call that computes an embedding."""
    return '"want":"embedding"' in (response.request.post_data or "")


def photographs(page: Page) -> None:
    """Preview, run, click."""
    create(page, "Table", [IMAGES / name for name in PHOTOGRAPHS], "openvino-nanodet-coco")
    page.get_by_role("link", name="Run a function").click()
    expect(page.locator("#estimate")).to_contain_text("will run")
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
    with page.expect_response(is_prepared) as prepared:
        page.get_by_role("button", name="Click").click()
    prepared.value.finished()
    duration_s = prepared.value.request.timing["responseEnd"] / 1000
    print(f"embedding, before the first click: {duration_s:.2f} s")
    page.locator("#label").select_option(label="cup")
    for name in ("first", "second"):
        page.keyboard.press("Escape")
        page.mouse.click(*on_frame(page, 0.45, 0.3))
        expect(page.locator("#keep")).to_be_enabled()
        print(f"{name} click: {page.locator('#state').inner_text()}")
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


def make_film(path: Path) -> None:
    """Write a video of `FILM_FRAMES` frames that pans over a photograph."""
    with Image.open(IMAGES / "coffee.png") as photograph:
        pixels = np.asarray(photograph.convert("RGB"))
    height, width = (side // 2 * 2 for side in (pixels.shape[0], pixels.shape[1] - FILM_FRAMES * 4))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(FILM_FRAMES):
            left = 4 * number
            part = np.ascontiguousarray(pixels[:height, left : left + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(part, format="rgb24")))
        container.mux(stream.encode(None))


def main() -> int:
    """Start a server, make the pictures, and stop the server."""
    if browser.PATH is None:
        sys.exit(f"script/screenshots {browser.MISSING}")
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(os.environ.get("CVAT_LAMBDA_HOME", temporary))
        services = Services(
            Options(
                home=home,
                functions=(REPOSITORY / "serverless",),
                only=FUNCTIONS,
                port=0,
                platform_port=0,
            )
        )
        with services:
            os.environ.update(services.environment)
            django.setup()
            from cvat_lambda.server.account import ensure_account, token_of

            account = ensure_account(home)
            client = Client(services.url)
            client.authorize(token_of(account.name))
            for function in FUNCTIONS:
                wait_for_function(services, client, function)
            film = Path(temporary) / "film.mp4"
            make_film(film)
            look(services.url, account.name, account.password or "", film)
    return 0


def look(url: str, user: str, password: str, film: Path) -> None:
    """Make the pictures in a browser."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser.PATH, args=["--no-sandbox"])
        page = chromium.new_page(base_url=url, viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto("/login")
        page.get_by_label("Username").fill(user)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        photographs(page)
        video(page, film)
        chromium.close()


if __name__ == "__main__":
    sys.exit(main())
