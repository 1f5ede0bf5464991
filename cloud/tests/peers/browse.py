#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Drives the pages that `cloud/tests/report.rs` left in DIR with headless Chromium, as a person would, and leaves
screenshots beside them. `browse.py DIR`; exit status 77 where Chromium or its driver is not installed."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

# Where WebDriver puts the reference to an element.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"down": "\ue015", "up": "\ue013", "left": "\ue012", "right": "\ue014", "enter": "\ue007", "escape": "\ue00c",
        "tab": "\ue004"}


class Browser:
    """One session of Chromium; its own profile, nothing fetched."""

    def __init__(self, driver, browser, extra=(), scripts=True):
        self.profile = tempfile.mkdtemp(prefix="report-")
        self.process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True)
        self.port = None
        for line in self.process.stdout:
            if "started successfully on port" in line:
                self.port = int(line.rsplit(" ", 1)[1].strip().rstrip("."))
                break
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync",
                     f"--user-data-dir={self.profile}", "--window-size=1280,1000", *extra]
        options = {"args": arguments, "binary": browser}
        if not scripts:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        answer = self.post("/session", {"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}})
        self.session = f"/session/{answer['sessionId']}"

    def post(self, path, body=None, method="POST"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method,
                                         data=None if method != "POST" else json.dumps(body or {}).encode())
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, path):
        self.post(f"{self.session}/url", {"url": "file://" + os.path.abspath(path)})

    def run(self, script, *arguments):
        return self.post(f"{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector):
        found = self.post(f"{self.session}/element", {"using": "css selector", "value": selector})
        return found[ELEMENT]

    def click(self, selector):
        self.post(f"{self.session}/element/{self.find(selector)}/click")

    def type(self, selector, text):
        self.post(f"{self.session}/element/{self.find(selector)}/value", {"text": text})

    def press(self, *keys):
        actions = []
        for key in keys:
            value = KEYS.get(key, key)
            actions += [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        self.post(f"{self.session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def shoot(self, path, height=None):
        if height is None:
            height = self.run("return document.documentElement.scrollHeight")
        self.post(f"{self.session}/window/rect", {"width": 1280, "height": min(int(height) + 140, 6000)})
        time.sleep(0.2)
        image = self.post(f"{self.session}/screenshot", method="GET")
        with open(path, "wb") as file:
            file.write(base64.b64decode(image))

    def complaints(self):
        entries = self.post(f"{self.session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def close(self):
        try:
            self.post(self.session, method="DELETE")
        finally:
            self.process.terminate()
            self.process.wait()
            shutil.rmtree(self.profile, ignore_errors=True)


def text(browser, selector):
    return browser.run("return document.querySelector(arguments[0]).textContent", selector)


def boxes(browser):
    return browser.run("return [...document.querySelectorAll('#flame [data-node]')].map(it => it.textContent)")


def nothing_wrong(browser):
    complaints = browser.complaints()
    assert not complaints, complaints
    assert browser.run("return performance.getEntriesByType('resource').length") == 0, "something was loaded"
    wide = browser.run("return document.documentElement.scrollWidth > document.documentElement.clientWidth + 1")
    assert not wide, "the page scrolls sideways"


def everything(browser, folder):
    """Tabs, search, zoom, time and comparison on the plain page."""
    browser.open(f"{folder}/plain/report.html")
    browser.shoot(f"{folder}/plain.png")
    tabs = browser.run("return [...document.querySelectorAll('[role=tab]')].map(it => it.textContent)")
    assert len(tabs) == 7 and tabs[0] == "CPU", tabs
    assert "main" in boxes(browser) and "isotp::Link::handle_frame" in boxes(browser), boxes(browser)
    before = text(browser, "#flame-what")
    assert "of time on a CPU" in before, before
    # Search marks and counts.
    browser.type("#flame-search", "ISOTP")
    assert browser.run("return document.querySelectorAll('#flame .hit').length") == 1
    assert "%" in text(browser, "#flame-matched")
    browser.shoot(f"{folder}/search.png", 1500)
    browser.type("#flame-search", KEYS["escape"])
    assert browser.run("return document.querySelectorAll('#flame .hit').length") == 0
    # Zoom by mouse, back by the button.
    count = len(boxes(browser))
    browser.run("[...document.querySelectorAll('#flame [data-node]')].find(it => it.textContent === 'cloud').click()")
    assert 0 < len(boxes(browser)) < count and "of all" in text(browser, "#flame-detail")
    browser.click("#flame-reset")
    assert len(boxes(browser)) == count
    # By keys alone: into the graph, down, zoom, out.
    browser.run("document.getElementById('flame-reset').focus(); document.querySelector('#flame [tabindex=\"0\"]').focus()")
    browser.press("down", "down")
    focused = browser.run("return document.activeElement.textContent")
    assert focused == "main", focused
    browser.press("up", "right")
    focused = browser.run("return document.activeElement.textContent")
    assert focused == "bus can0", focused
    browser.press("enter")
    zoomed = boxes(browser)
    assert zoomed[:2] == ["all", "bus can0"] and "cloud" not in zoomed, zoomed
    browser.press("escape")
    assert len(boxes(browser)) == count
    browser.press("/")
    assert browser.run("return document.activeElement.id") == "flame-search"
    # Other dimensions, by keys too.
    browser.run("document.getElementById('tab-cpu').focus()")
    for slug, place in (("heap", "serde_json::to_vec<T>"), ("pages", "mmap"), ("blocked", "epoll_wait"),
                        ("run-queue", "journal::commit"), ("block-io", "mmcblk0"), ("lock", "Mutex::lock")):
        browser.press("right")
        assert browser.run("return document.activeElement.id") == f"tab-{slug}"
        assert place in boxes(browser), (slug, boxes(browser))
        if slug == "blocked":
            assert "fsync" not in boxes(browser) and "are not drawn" in text(browser, "#flame-notes")
    browser.click("#tab-cpu")
    # A shorter time holds less; a comparison says how much.
    browser.run("const it = document.getElementById('flame-shown-to'); it.value = '4'; it.dispatchEvent(new Event('input'))")
    assert text(browser, "#flame-what") != before
    browser.run("const it = document.getElementById('flame-shown-to'); it.value = it.max; it.dispatchEvent(new Event('input'))")
    browser.click("#flame-compare")
    for name, value in (("shown-from", 4), ("shown-to", 4), ("base-from", 0), ("base-to", 0)):
        browser.run("const it = document.getElementById(arguments[0]); it.value = arguments[1]; "
                    "it.dispatchEvent(new Event('input'))", f"flame-{name}", value)
    grown = browser.run("return [...document.querySelectorAll('#flame [data-node]')]"
                        ".find(it => it.textContent.startsWith('gatewayd+0x41200')).getAttribute('aria-label')")
    assert "5.00 times the base" in grown, grown
    same = browser.run("return [...document.querySelectorAll('#flame [data-node]')]"
                       ".find(it => it.textContent === 'telemetry::encode').className")
    assert same.startswith("d3"), same
    browser.shoot(f"{folder}/compare.png", 1700)
    nothing_wrong(browser)


def contrast(browser, where):
    """Every text against what lies right behind it: 4.5 to 1, as WCAG 2.1 AA has it."""
    bad = browser.run("""
      const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
      const light = ([r, g, b]) => [r, g, b].map(it => it / 255)
        .map(it => it <= 0.03928 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4)
        .reduce((sum, it, at) => sum + it * [0.2126, 0.7152, 0.0722][at], 0);
      const behind = (element) => {
        for (let it = element; it; it = it.parentElement) {
          const [r, g, b, a = 1] = parse(getComputedStyle(it).backgroundColor);
          if (a > 0.99) return [r, g, b];
        }
        return [255, 255, 255];
      };
      const bad = new Set();
      for (const element of document.querySelectorAll('body *')) {
        if (element.closest('svg, script, noscript, [hidden], :disabled, .miss, .passed')) continue;
        if (![...element.childNodes].some(it => it.nodeType === 3 && it.data.trim())) continue;
        const [one, two] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
        const ratio = (one + 0.05) / (two + 0.05);
        if (ratio < 4.5) bad.add(`${element.tagName}.${element.className}#${element.id} ${ratio.toFixed(2)}`);
      }
      return [...bad];
    """)
    assert not bad, (where, bad)


def main():
    folder = sys.argv[1]
    driver, browser = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("chromium-browser")
    if not driver or not browser:
        print("not checked: chromium or chromium-driver is not installed")
        sys.exit(77)
    session = Browser(driver, browser)
    try:
        everything(session, folder)
        contrast(session, "light, comparing")
        session.open(f"{folder}/plain/report.html")
        contrast(session, "light")
        for name in ("fleet", "broken", "hostile"):
            session.open(f"{folder}/{name}/report.html")
            session.shoot(f"{folder}/{name}.png")
            nothing_wrong(session)
        assert session.run("return document.title") == "Telemetry"
        assert session.run("return document.querySelectorAll('img, iframe, body script:not([type])').length") == 1
        # A narrow window.
        session.open(f"{folder}/plain/report.html")
        session.post(f"{session.session}/window/rect", {"width": 500, "height": 900})
        nothing_wrong(session)
    finally:
        session.close()
    session = Browser(driver, browser, ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"])
    try:
        session.open(f"{folder}/plain/report.html")
        assert session.run("return matchMedia('(prefers-color-scheme: dark)').matches"), "not dark"
        contrast(session, "dark")
        session.shoot(f"{folder}/dark.png")
        session.click("#flame-compare")
        contrast(session, "dark, comparing")
        session.shoot(f"{folder}/dark-compare.png", 1700)
        nothing_wrong(session)
    finally:
        session.close()
    session = Browser(driver, browser, scripts=False)
    try:
        session.open(f"{folder}/plain/report.html")
        session.shoot(f"{folder}/noscript.png", 3400)
    finally:
        session.close()
    print(f"report: 4 pages driven in Chromium, light, dark, narrow and without scripts; screenshots in {folder}")


if __name__ == "__main__":
    main()
