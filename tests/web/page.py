"""The page as a person at a browser has it."""

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

# Keeps what the page sends in `sent`; what is in `changes` is put over it on its way.
WATCH_REQUESTS = """
  const original = window.fetch;
  window.sent = [];
  window.changes = {};
  window.fetch = (address, options) => {
    if (!options?.body) return original(address, options);
    const body = JSON.parse(options.body);
    window.sent.push({ headers: options.headers, body });
    return original(address, { ...options, body: JSON.stringify({ ...body, ...window.changes }) });
  };"""

# Answers chats with these events in place of the server.
ANSWER_WITH = """
  const events = arguments[0].map((event) => `data: ${JSON.stringify(event)}\\n\\n`).join('');
  const original = window.fetch;
  window.fetch = (address, options) =>
    options?.body ? Promise.resolve(new Response(`${events}data: [DONE]\\n\\n`)) : original(address, options);"""


class Page:
    def __init__(self, driver, url):
        self.driver = driver
        self.url = url

    def open(self, *, dark=False, width=1280, height=800, scale=1):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                    {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
        self.driver.get(self.url)
        self.wait(lambda: self.find("#state").text == "Connected")
        self.driver.execute_script(WATCH_REQUESTS)
        return self

    def wait(self, condition, seconds=10):
        return WebDriverWait(self.driver, seconds, poll_frequency=0.02).until(lambda _: condition())

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def js(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def module(self, name, expression):
        """The value of an expression over a module's exports, which are in `m`."""
        return self.driver.execute_async_script(
            f"const done = arguments[0]; import('/web/{name}').then((m) => done({expression}), (e) => done(String(e)));")

    def keys(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def chord(self, held, key):
        ActionChains(self.driver).key_down(held).send_keys(key).key_up(held).perform()

    def hover(self, element):
        ActionChains(self.driver).move_to_element(element).perform()

    def answer_with(self, *events):
        self.js(ANSWER_WITH, list(events))

    def change(self, **fields):
        self.js("window.changes = arguments[0]", fields)

    def set(self, control, value):
        self.js("const c = document.getElementById(arguments[0]); c.value = arguments[1];"
                "c.dispatchEvent(new Event('input', { bubbles: true }))", control, value)

    def send(self, text):
        self.find("#message").send_keys(text + "\n")

    def is_busy(self):
        return bool(self.all("article.answer[aria-busy=true]"))

    def ask(self, text):
        """Sends a message and returns the answer when it is complete."""
        self.send(text)
        self.wait(lambda: not self.is_busy())
        return self.all("article.answer .text")[-1].text

    def hosts(self):
        """Of everything that the page loaded."""
        return set(self.js("return performance.getEntriesByType('resource').map((e) => new URL(e.name).host)"))
