"""The page of a layer in a browser: a bar lists its neurons, a point opens one."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from cache.reader import NeuronCache
from dashboard.layer.distributions import bar_limits, distribution_of

pytestmark = pytest.mark.browser


def open_layer(page: Page, server: str) -> None:
    page.goto(f"{server}/layer?model=tiny")
    expect(page.locator(".js-plotly-plot")).to_have_count(4)
    expect(page.locator(".js-plotly-plot .bars .point").first).to_be_visible()
    page.wait_for_timeout(1000)  # figures settle into their columns


def test_a_bar_lists_its_neurons(server: str, page: Page, tiny_model: Path) -> None:
    maxima = (
        NeuronCache.open(tiny_model / "neurons").table(0, "hook_mid")["max"].to_numpy().astype(np.float64)
    )
    distribution = distribution_of("max", maxima)
    bar = int(np.argmax(distribution.counts))
    open_layer(page, server)
    box = page.locator(".js-plotly-plot").nth(2).locator(".bars .point").nth(bar).bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 4)
    expect(page).to_have_url(re.compile("/neurons.*max="))
    expect(page.locator("table tbody tr")).to_have_count(int(distribution.counts[bar]))
    low, high = bar_limits(distribution, bar)
    listed = page.locator("table tbody tr a").evaluate_all("all => all.map(a => a.href)")
    numbers = {int(re.search(r"neuron=(\d+)", href)[1]) for href in listed}
    assert numbers == set(np.flatnonzero((maxima >= low) & (maxima <= high)).tolist())


def test_the_button_leads_to_the_list(server: str, page: Page) -> None:
    open_layer(page, server)
    page.get_by_role("button", name="List of its neurons").click()
    expect(page).to_have_url(re.compile("/neurons"))


def test_a_bad_address_gets_a_message(server: str, page: Page) -> None:
    page.goto(f"{server}/layer?model=tiny&layer=7")
    expect(page.get_by_role("alert")).to_contain_text("holds layers 0")


def test_it_is_accessible(server: str, page: Page, accessible: Callable[[], None]) -> None:
    open_layer(page, server)
    accessible()
