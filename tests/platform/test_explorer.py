"""The explorer on the running platform, in a real browser, as a person sees it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from rasterio.io import MemoryFile
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = pytest.mark.browser

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,800",
    "--hide-scrollbars",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.binary_location = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver") or "/usr/bin/chromedriver")
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


def at_rest(browser: webdriver.Chrome, *, render: str = "") -> None:
    """Wait until the map has every tile, and the look is on it."""

    def ready(driver: webdriver.Chrome) -> bool:
        page = driver.find_element(By.TAG_NAME, "html").get_attribute("data-map-idle")
        shown = driver.find_element(By.TAG_NAME, "main").get_attribute("data-render") or ""
        return page == "true" and shown == render

    WebDriverWait(browser, 40).until(ready)


def picture(browser: webdriver.Chrome) -> np.ndarray[Any, np.dtype[Any]]:
    """A screenshot as (bands, height, width)."""
    with MemoryFile(io.BytesIO(browser.get_screenshot_as_png())) as memory, memory.open() as dataset:
        array: np.ndarray[Any, np.dtype[Any]] = dataset.read()
        return array


def requests(browser: webdriver.Chrome) -> list[str]:
    """Addresses that the page asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_map_shows_the_land_then_the_mosaic_and_asks_nobody_else(browser: webdriver.Chrome, platform: Any) -> None:
    browser.get(f"{platform.url}/")
    at_rest(browser)
    titles = browser.find_element(By.TAG_NAME, "body").text
    for title in ("Landsat 8", "NAIP", "Sentinel-2 NDVI", "parcels"):
        assert title in titles
    land = picture(browser)

    browser.get(f"{platform.url}/#collection=landsat8-paraguay&render=true_color")
    browser.refresh()
    at_rest(browser, render="true_color")
    mosaic = picture(browser)
    assert (mosaic[:3] != land[:3]).any(axis=0).mean() > 0.15, "the mosaic covers a good part of the map"

    asked = requests(browser)
    assert any("/raster/collections/landsat8-paraguay/tiles/" in address for address in asked)
    foreign = [address for address in asked if not address.startswith((platform.url, "data:", "blob:", "chrome"))]
    assert not foreign
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not severe


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_ndvi_is_drawn_in_its_colours_and_parcels_over_it(
    browser: webdriver.Chrome, platform: Any, http: httpx.Client
) -> None:
    summer = "collections=sentinel2-ndvi&datetime=2017-05-01T00:00:00Z/2017-08-31T00:00:00Z"
    clear = http.get(f"/stac/search?{summer}&filter=eo:cloud_cover<1&sortby=-datetime&limit=1").json()
    (item,) = (feature["id"] for feature in clear["features"])
    browser.get(f"{platform.url}/#collection=sentinel2-ndvi&item={item}&render=ndvi&layer=features.parcels")
    browser.refresh()
    at_rest(browser, render="ndvi")
    image = picture(browser).astype(int)
    red, green, blue = image[0], image[1], image[2]
    green_fields = (green > red + 20) & (green > blue + 20)
    assert green_fields.mean() > 0.2, "healthy fields are green in this colormap"
    asked = requests(browser)
    assert any("/vector/collections/features.parcels/tiles/" in address for address in asked)
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
