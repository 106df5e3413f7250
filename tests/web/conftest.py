"""Chromium on the page that the real binary serves with Pocket Scout."""

import os
import pathlib
import platform
import shutil
import sys

import pytest
from selenium import webdriver

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from api.conftest import serve  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


def pytest_collection_modifyitems(items):
    """Ubuntu's chromium is a snap, which is not installed. CI has Debian's: there a missing one is a failure."""
    on_debian_ci = os.environ.get("CI") == "true" and platform.freedesktop_os_release().get("ID") == "debian"
    if (CHROMIUM and DRIVER) or on_debian_ci:
        return
    for item in items:
        item.add_marker(pytest.mark.skip(reason="no chromium and chromedriver: Debian's chromium-driver brings both"))


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("server") / "log", "--max-model-len", "8192") as running:
        yield running


@pytest.fixture(scope="session")
def guarded(tmp_path_factory):
    """Behind a key and a path, without metrics, under a name that is HTML."""
    with serve(tmp_path_factory.mktemp("guarded") / "log", "--api-key", "sesame", "--root-path", "/llm",
               "--disable-log-stats", "--served-model-name", "<b>bold</b>") as running:
        yield running


@pytest.fixture(scope="session")
def chromium():
    assert CHROMIUM and DRIVER, "chromium and chromedriver are missing; scripts/install-deps.sh test installs them"
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--lang=en"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.implicitly_wait(0)
    yield driver
    driver.quit()
