"""A click on the workbench in a real browser, answered by MobileSAM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect
from pytest_django import Settings

from cvat_lambda.annotations import rle
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone.tasks import create_task
from tests.api.web.conftest import browser, open_page
from tests.functions.packaged.photographs import PHOTOGRAPHS, hand_mask, mask_iou
from tests.integration.new_models.conftest import app_of

FUNCTIONS = ("openvino-mobile-sam",)
CUP = (220, 200)  # a pixel of the cup
__all__ = ("browser", "open_page")  # fixtures

pytestmark = pytest.mark.models


@pytest.mark.usefixtures("transactional_db", "clean_redis")
def test_click_on_the_cup_is_kept_as_a_mask_of_the_cup(
    function: Callable[[str], Any],
    settings: Settings,
    open_page: Callable[..., Page],  # the fixture
    alice: User,
) -> None:
    served = function(FUNCTIONS[0])
    labels = [{"name": "cup", "type": "any"}]
    task = create_task(alice, "Table", labels, [PHOTOGRAPHS / "coffee.png"])
    with app_of(served.runtime, settings):
        page = open_page(alice, f"/tasks/{task.pk}/frames/0")
        page.get_by_role("button", name="Click").click()
        picture = page.locator("#canvas svg > image")
        place = picture.bounding_box()
        assert place is not None
        scale = place["width"] / float(picture.get_attribute("width") or 1)
        page.mouse.click(place["x"] + CUP[0] * scale, place["y"] + CUP[1] * scale)
        expect(page.locator("#state")).to_contain_text("Mask in")
        page.keyboard.press("Enter")
        expect(page.locator("#list .name")).to_have_text(["cup"])
    (shape,) = get_engine().annotations(task.pk).shapes
    bitmap, left, top = rle.decode(shape.points)
    expected = hand_mask("coffee_cup_and_saucer")
    found = np.zeros_like(expected)
    found[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] = bitmap.astype(bool)
    assert mask_iou(found, expected) > 0.95
