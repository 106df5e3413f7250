"""The web page in Chromium: chat, token probabilities, live view, keyboard, keys, and what it must not do."""

import json
import os
import pathlib
import threading

import pytest
from page import Page
from selenium.webdriver.common.keys import Keys

from api.conftest import serve

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = sorted(path.name for path in (ROOT / "src/web").iterdir() if path.suffix in (".html", ".css", ".js", ".svg"))
QUESTION = "Tell me about San Francisco."


@pytest.fixture
def page(chromium, server):
    chromium.get_log("browser")
    page = Page(chromium, server.url + "/")
    yield page
    assert chromium.get_log("browser") == []
    assert page.hosts() <= {f"127.0.0.1:{server.port}"}


@pytest.fixture
def guarded_page(chromium, guarded):
    page = Page(chromium, guarded.url + "/llm")
    yield page.open()
    page.js("sessionStorage.clear()")


def chunk(text, *tokens):
    return {"choices": [{"delta": {"content": text}, "logprobs": {"content": [
        {"token": token, "logprob": logprob, "top_logprobs": []} for token, logprob in tokens]}}]}


def test_the_page_weighs_less_than_100_kb_and_names_no_other_host(server):
    total = 0
    for name in FILES:
        status, headers, text = server.request("GET", f"/web/{name}")
        assert status == 200 and headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "://" not in text.replace("http://www.w3.org/2000/svg", ""), name
        assert "innerHTML" not in text and "eval(" not in text, name
        total += len(text.encode())
    assert total < 100_000
    assert server.get("/") == server.get("/web/index.html")
    assert server.request("GET", "/web/nothing.js")[0] == 404
    assert server.request("GET", "/web/..%2f..%2fetc/passwd")[0] == 404
    assert server.request("POST", "/", "{}")[0] == 405


def test_without_the_page_its_paths_are_not_found(tmp_path):
    with serve(tmp_path / "log", "--no-web", "--log-level", "debug") as server:
        for path in ("/", "/web/main.js", "/web/server.json", "/web/metrics"):
            assert server.request("GET", path)[::2] == (404, '{"detail":"Not Found"}'), path
        [routes] = [line for line in server.log.read_text().splitlines() if "Available routes are: " in line]
        assert "/health (GET), " in routes and " / (GET)" not in routes and "/web/" not in routes


def test_the_polls_of_an_open_page_are_neither_logged_nor_counted(server):
    server.get("/web/metrics")
    assert "GET /web/metrics HTTP" not in server.log.read_text()
    assert "/web/metrics" not in server.get("/metrics")


def test_an_answer_streams_and_says_how_it_went(page):
    page.open().change(ignore_eos=True)
    page.set("max-tokens", "400")
    page.js("""window.lengths = new Set();
      new MutationObserver(() => window.lengths.add(document.querySelector('.text')?.textContent.length))
        .observe(document.getElementById('log'), { childList: true, subtree: true });""")
    page.ask(QUESTION)
    assert page.js("return window.lengths.size") > 5
    assert "San Francisco" in page.find(".text").text
    assert page.find(".meta").text.startswith("400 tokens · ") and page.find(".meta").text.endswith(" · length")
    assert page.find("#announce").get_property("textContent") == page.find(".text").get_property("textContent")


def test_controls_and_earlier_turns_are_sent(page):
    page.open()
    page.set("temperature", "0")
    page.set("top-p", "0.5")
    page.set("max-tokens", "7")
    page.set("seed", "42")
    page.set("system", "Be brief.")
    assert page.find("output[for=top-p]").text == "0.50"
    first = page.ask(QUESTION)
    page.find("#logprobs").click()
    page.ask("And Rome?")
    before, after = (entry["body"] for entry in page.js("return window.sent"))
    assert {key: before[key] for key in ("temperature", "top_p", "max_tokens", "seed", "logprobs", "top_logprobs")} == {
        "temperature": 0, "top_p": 0.5, "max_tokens": 7, "seed": 42, "logprobs": True, "top_logprobs": 5}
    assert "logprobs" not in after and not page.all("article.answer:last-child .token")
    assert after["messages"] == [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": first}, {"role": "user", "content": "And Rome?"}]
    page.find("#clear").click()
    assert not page.all("article")


@pytest.mark.parametrize("way", ["Escape", "button"])
def test_stopping_an_answer_frees_the_server_and_keeps_the_text(page, server, way):
    page.open().change(ignore_eos=True, max_tokens=8000)
    page.send(QUESTION)
    page.wait(lambda: page.all("article.answer .token"))
    page.keys(Keys.ESCAPE) if way == "Escape" else page.find("#stop").click()
    page.wait(lambda: not page.is_busy())
    assert page.find(".meta").text.endswith("stopped") and page.find(".text").text
    assert page.find("#announce").get_property("textContent") == "Stopped"
    assert page.find("#send").is_displayed() and not page.find("#stop").is_displayed()
    server.wait_for_metric("vllm:num_requests_running", 0)


def test_pointing_at_a_token_shows_its_probability_and_alternatives(page):
    page.open().ask(QUESTION)
    page.hover(page.all(".text .token")[3])
    page.wait(lambda: page.find("#tip").is_displayed())
    rows = page.all("#tip .alternative")
    assert len(rows) >= 5 and len(page.all("#tip .chosen")) == 1
    shares = [float(row.text.split("\n")[-2].rstrip(" %")) for row in rows]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 100.5
    page.hover(page.find("#message"))
    assert not page.find("#tip").is_displayed()


def test_unlikely_tokens_are_shaded_and_split_characters_stay_whole(page):
    page.open().answer_with(chunk("sure", ("sure", -0.01)), chunk(" maybe", (" maybe", -1.0)),
                            chunk("", ("\\xe4", -0.1)), chunk("你", ("\\xbd\\xa0", -3.0)))
    assert page.ask("?") == "sure maybe你"
    assert [span.get_attribute("class") for span in page.all(".text .token")] == ["token", "token p1", "token p0"]
    page.hover(page.all(".text .token")[2])
    assert len(page.all("#tip .alternative")) == 2


def test_what_a_model_writes_stays_text(page):
    evil = "<img src=x onerror='document.title=1'><script>document.title=2</script>"
    page.open().answer_with(chunk(evil, (evil, -2.0)), chunk("<b>&amp;</b>"))
    assert page.ask("<i>me</i>") == evil + "<b>&amp;</b>"
    page.hover(page.find(".text .token"))
    assert page.find(".said").text == "<i>me</i>"
    assert not page.all("#log :is(img, script, b, i), #tip :is(img, script)")
    assert page.driver.title == "pocket-scout – Outrider"


def test_errors_are_said_where_the_answer_would_be(page, chromium):
    page.open().change(temperature=-1)
    page.ask(QUESTION)
    assert "temperature" in page.find(".error").text and page.find(".error").get_attribute("role") == "alert"
    page.change()
    assert "San Francisco" in page.ask(QUESTION)
    # Chromium itself notes the 400.
    assert all("400" in entry["message"] for entry in chromium.get_log("browser"))


def test_the_keyboard_alone_reaches_everything(page):
    page.open()
    assert page.js("return document.activeElement.id") == "message"
    page.keys(QUESTION)
    page.chord(Keys.SHIFT, Keys.ENTER)
    page.keys("Be brief.", Keys.ENTER)
    page.wait(lambda: page.all(".answer[aria-busy=false]"))
    assert page.find(".said").text == QUESTION + "\nBe brief."
    page.js("document.querySelector('.skip').focus()")
    seen = ["skip"]
    while seen[-1] != "logprobs" and len(seen) < 16:
        page.keys(Keys.TAB)
        seen.append(page.js("const e = document.activeElement; return e.id || e.className || e.tagName"))
        shown = page.js("const e = document.activeElement; return getComputedStyle(e).outlineStyle")
        assert shown != "none", f"no focus ring on {seen[-1]}"
        if seen[-1] == "text":
            page.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
            assert page.all(".text .token")[1].get_attribute("class").endswith("current")
            assert "%" in page.find("#announce").get_property("textContent")
            page.keys(Keys.ESCAPE)
            assert not page.find("#tip").is_displayed()
    assert seen == ["skip", "log", "text", "message", "clear", "send", "temperature", "top-p", "max-tokens", "seed",
                    "system", "logprobs"]
    assert page.js("return [...document.querySelectorAll('input, textarea')].every((e) => e.labels.length === 1)")


def test_light_and_dark_follow_the_system_and_both_can_be_read(page):
    contrast = """
      const luminance = (color) => color.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const style = (e) => getComputedStyle(e);
      const page = luminance(style(document.documentElement).backgroundColor);
      return ['h1', '#model', '#empty', '.legend', 'figcaption', '#floor-note', 'label'].map((selector) => {
        const text = luminance(style(document.querySelector(selector)).color);
        return (Math.max(page, text) + 0.05) / (Math.min(page, text) + 0.05);
      });"""
    backgrounds = []
    for dark in (False, True):
        page.open(dark=dark)
        backgrounds.append(page.js("return getComputedStyle(document.documentElement).backgroundColor"))
        assert min(page.js(contrast)) >= 4.5, "dark" if dark else "light"
    assert backgrounds == ["rgb(246, 247, 248)", "rgb(16, 20, 24)"]


def test_a_narrow_screen_shows_one_part_at_a_time(page):
    page.open(width=390, height=760)
    assert page.js("return document.documentElement.scrollWidth") == 390
    for view in ("sampling", "live", "chat"):
        page.find(f"[data-shows={view}]").click()
        assert [part for part in ("chat", "sampling", "live") if page.find(f"#{part}").is_displayed()] == [view]
    assert "San Francisco" in page.ask(QUESTION)


def test_the_live_view_follows_the_load(page, server):
    page.open()
    body = {"prompt": "San Francisco is a", "max_tokens": 4000, "ignore_eos": True, "n": 2}
    load = threading.Thread(target=server.post, args=("/v1/completions", body))
    load.start()
    page.wait(lambda: page.find(".value0").text not in ("", "0 tok/s") and "2 running" in page.find("#charts").text)
    assert page.all(".chart .line0")[0].get_attribute("d").startswith("M")
    assert "ms" in page.all("figcaption strong")[4].text
    load.join()
    page.wait(lambda: "0 running" in page.find("#charts").text)
    assert "not known" in page.find("#floor-note").text


def test_rates_latencies_and_floors_are_what_the_samples_say(page):
    page.open()
    sample = 'vllm:generation_tokens_total{{engine="0",model_name="a b"}} {}\n' \
             'vllm:time_to_first_token_seconds_bucket{{le="1.0"}} 9.0\n' \
             'vllm:time_to_first_token_seconds_count{{engine="0"}} {}\nvllm:time_to_first_token_seconds_sum{{engine="0"}} {}\n'
    step = page.module("metrics.js", f"m.between(m.parse({json.dumps(sample.format(100.0, 2.0, 1.0))}), "
                                     f"m.parse({json.dumps(sample.format(350.0, 4.0, 2.0))}), 2)")
    assert step["output"] == 125 and step["ttft"] == 0.5 and step["itl"] is None
    scout = {"step_weight_bytes": 10e9, "expert_weight_bytes": 6e9, "num_experts": 16, "experts_per_token": 1,
             "memory_bandwidth": 4e12}
    floor = "[1, 16, 4096].map((rows) => m.stepFloor(%s, rows))" % json.dumps(scout)
    assert page.module("floor.js", floor) == pytest.approx(
        [16e9 / 4e12, (10e9 + 16 * (1 - (15 / 16) ** 16) * 6e9) / 4e12, 106e9 / 4e12])
    assert page.module("floor.js", "m.stepFloor(%s, 1)" % json.dumps(scout | {"memory_bandwidth": 0})) is None


def test_a_key_is_asked_for_kept_for_the_tab_and_sent(guarded_page):
    page = guarded_page
    assert page.js("return location.pathname") == "/llm/"
    assert page.find("#model").text == "<b>bold</b> on CPU"
    page.wait(lambda: page.find("#key-dialog").is_displayed())
    page.keys("wrong", Keys.ENTER)
    page.ask(QUESTION)
    assert page.find(".error").text == "Unauthorized" and page.find("#key-dialog").is_displayed()
    page.keys("sesame", Keys.ENTER)
    assert "San Francisco" in page.ask(QUESTION)
    assert page.js("return window.sent.at(-1).headers.Authorization") == "Bearer sesame"
    assert page.js("return [Object.values(sessionStorage), localStorage.length, document.cookie]") == [["sesame"], 0, ""]
    page.open()
    assert not page.find("#key-dialog").is_displayed()
    assert "Metrics are off" in page.find("#live").text


@pytest.mark.skipif("OUTRIDER_SCREENSHOTS" not in os.environ, reason="OUTRIDER_SCREENSHOTS names no folder")
def test_pictures_for_the_readme(page, server):
    """Writes web-light.png (the README's docs/images/web.png) and web-dark.png into the folder that it names."""
    folder = pathlib.Path(os.environ["OUTRIDER_SCREENSHOTS"])
    body = {"prompt": "San Francisco is a", "max_tokens": 1500, "ignore_eos": True, "n": 6}
    for dark in (False, True):
        page.open(dark=dark, width=1240, height=760)
        page.set("seed", "7")
        load = [threading.Timer(delay, server.post, ("/v1/completions", body)) for delay in range(0, 40, 5)]
        for request in load:
            request.start()
        page.ask("Who are you?")
        for request in load:
            request.join()
        page.ask(QUESTION)
        page.hover(page.all(".text .token")[-40])
        page.driver.save_screenshot(str(folder / f"web-{'dark' if dark else 'light'}.png"))
