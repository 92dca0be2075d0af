"""Browser test: opens a report in headless Chromium and checks its interactive features.

    python3 tests/browser/report.py REPORT_HTML [--screenshots FOLDER]

Uses the DevTools protocol over a pair of pipes, with the standard library only. Prints one line for each check.
Exits with 0 if all pass, 1 if one fails, 77 if there is no Chromium.
"""
import argparse
import base64
import fcntl
import json
import os
import pathlib
import select
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import prepare  # noqa: E402, so that no compiled file is left beside it

PATIENCE = 60
KEYS = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "Tab": 9}

# Script that runs in the page before the page's own scripts.
WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective + " " + event.blockedURI));
"""


class Browser:
    """A Chromium process with one page. It reads commands from file descriptor 3 and writes answers to 4."""

    def __init__(self, path, profile):
        there, self.out = os.pipe()
        self.into, back = os.pipe()
        # High descriptors, so that neither is overwritten while they are duplicated to 3 and 4.
        there, back = (fcntl.fcntl(end, fcntl.F_DUPFD, 100) for end in (there, back))

        def lay():
            os.dup2(there, 3)
            os.dup2(back, 4)

        arguments = ["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--hide-scrollbars"]
        arguments += ["--disable-dev-shm-usage", "--disable-background-networking", f"--user-data-dir={profile}"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        self.process = subprocess.Popen([path, *arguments, "about:blank"], preexec_fn=lay, close_fds=False, stderr=subprocess.DEVNULL)
        os.close(there)
        os.close(back)
        self.session, self.number, self.rest, self.events = None, 0, b"", []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Network", "Log"]:
            self.call(f"{domain}.enable")

    def message(self, deadline):
        while b"\0" not in self.rest:
            if not select.select([self.into], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            more = os.read(self.into, 1 << 20)
            if not more:
                raise RuntimeError("the browser has ended")
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def send(self, method, params):
        self.number += 1
        request = {"id": self.number, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.out, json.dumps(request).encode() + b"\0")
        return self.number

    def call(self, method, **params):
        number, deadline = self.send(method, params), time.monotonic() + PATIENCE
        while True:
            message = self.message(deadline)
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]
            if "method" in message:
                self.events.append(message)
            if message.get("method") == "Page.javascriptDialogOpening":
                # A page with an open dialog would wait forever.
                self.send("Page.handleJavaScriptDialog", {"accept": True})

    def js(self, expression):
        """Evaluates a JavaScript expression in the page and returns its value."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", expression))
        return answer["result"].get("value")

    def wait(self, expression):
        deadline = time.monotonic() + PATIENCE
        while not self.js(expression):
            if time.monotonic() > deadline:
                raise TimeoutError(expression)
            time.sleep(0.05)

    def press(self, key):
        code = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def click(self, element):
        """Clicks the middle of an element, after scrolling it into view."""
        self.js(f"{element}.scrollIntoView({{block: 'center', inline: 'center', behavior: 'instant'}})")
        # Clicks hit what was last painted: wait for the next frame.
        frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
        self.call("Runtime.evaluate", expression=frames, awaitPromise=True)
        box = self.js(f"(() => {{ const r = {element}.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()")
        place = {"x": box[0], "y": box[1]}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **place)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def view(self, width, height, scheme):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def happened(self, method):
        return [event["params"] for event in self.events if event["method"] == method]

    def close(self):
        try:
            self.call("Browser.close")
            self.process.wait(PATIENCE)
        except (RuntimeError, TimeoutError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


class Checks:
    def __init__(self, browser, address, folder):
        self.browser, self.address, self.folder = browser, address, folder
        self.js, self.failed = browser.js, 0

    def check(self, what, holds, seen=""):
        self.failed += not holds
        print(f"{'ok' if holds else 'FAILED'}: {what}" + ("" if holds else f" (seen: {seen})"), flush=True)

    def same(self, what, seen, wanted):
        self.check(what, seen == wanted, f"{str(seen)[:300]!r}, wanted {str(wanted)[:300]!r}")

    def picture(self, name):
        if not self.folder:
            return
        shot = self.browser.call("Page.captureScreenshot", captureBeyondViewport=False)
        (self.folder / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

    def pictures(self, name, width, height, scheme):
        """Saves screenshots of the page from top to bottom, `height` pixels each, then of a prompt."""
        if not self.folder:
            return
        self.browser.view(width, height, scheme)
        pieces = -(-self.js("document.documentElement.scrollHeight") // height)
        for piece in range(min(pieces, 24)):
            self.js(f"document.documentElement.scrollTo({{top: {piece * height}, behavior: 'instant'}})")
            self.picture(f"{name}-{piece:02}")
        self.js("document.querySelector('#prompt-list button').click()")
        self.picture(f"{name}-prompt")
        self.js("document.getElementById('reader').close()")
        self.js("document.documentElement.scrollTo({top: 0, behavior: 'instant'})")

    def open(self):
        self.browser.view(1280, 900, "light")
        self.browser.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        self.browser.call("Page.navigate", url=self.address)
        self.browser.wait("document.readyState === 'complete'")
        self.browser.wait("document.getElementById('prompt-tools')?.hidden === false")

    def structure(self):
        levels = self.js("[...document.querySelectorAll('main :is(h1, h2, h3, h4, h5), header h1')].map((h) => Number(h.localName[1]))")
        self.check("headings are in order", levels[0] == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:])), levels)
        nameless = self.js("[...document.querySelectorAll('select, input')].filter((e) => e.labels.length === 0).map((e) => e.id)")
        self.same("every control has a label", nameless, [])
        twice = self.js("[...document.querySelectorAll('[id]')].map((e) => e.id).filter((id, i, all) => all.indexOf(id) !== i)")
        self.same("no id is there twice", twice, [])
        self.same("the table has a row a model", self.js("document.querySelectorAll('#models-table tbody tr').length"), self.js("data.models.length"))
        links = self.js("[...document.querySelectorAll('a')].filter((a) => !document.querySelector(a.getAttribute('href'))).length")
        self.same("every link leads to a section", links, 0)

    def sorting(self):
        """A column with different numbers is sorted in one direction, then in the other."""
        column = self.js("""(() => {
            const rows = [...document.querySelectorAll("#models-table tbody tr")];
            const different = (i) => new Set(rows.map((row) => row.children[i].dataset.value)).size;
            return [...rows[0].children].findIndex((cell, i) => i > 2 && different(i) > 1);
        })()""")
        if column < 0:
            return print("skipped: sorting (no column holds different numbers)")
        header = f"document.querySelectorAll('#models-table thead tr:last-child th')[{column}]"
        values = f"[...document.querySelectorAll('#models-table tbody tr')].map((row) => row.children[{column}].dataset.value)"
        for by_mouse in (False, True):
            if by_mouse:
                self.browser.click(f"{header}.querySelector('button')")
            else:
                self.js(f"{header}.querySelector('button').focus()")
                self.browser.press("Enter")
            way = self.js(f"{header}.getAttribute('aria-sort')")
            seen = self.js(values)
            known = [float(value) for value in seen if value]
            wanted = [str(v) for v in sorted(known, reverse=way == "descending")] + [""] * (len(seen) - len(known))
            self.same(f"a header sorts its column, {way}", [str(float(v)) if v else v for v in seen], wanted)
        self.same("the second time the other way", way, "ascending")
        self.same("one column alone is marked as sorted", self.js("document.querySelectorAll('#models-table [aria-sort]').length"), 1)

    def comparisons(self):
        if self.js("document.getElementById('comparison-measure')?.options.length ?? 0") < 2:
            return print("skipped: comparisons (there are no two models and two measures)")
        cells = "document.querySelector('#comparison-matrix tbody').textContent"
        before = self.js(cells)
        self.js("""(() => {
            const select = document.getElementById("comparison-measure");
            select.selectedIndex = 1;
            select.dispatchEvent(new Event("change"));
        })()""")
        self.check("the matrix follows the chosen measure", self.js(cells) != before, before)
        self.js("document.querySelector('#comparison-matrix td button').focus()")
        self.browser.press("Enter")
        self.check("Enter shows all tests of a pair", "permutation" in self.js("document.getElementById('comparison-detail').textContent"))
        turned = self.js("""(() => {
            const [a, b] = data.models, measure = document.getElementById("comparison-measure").value;
            const [one, other] = [difference(a, b, measure), difference(b, a, measure)];
            return one === null || (one.difference === -other.difference && one.up === other.down && one.ci_low === -other.ci_high);
        })()""")
        self.check("the matrix is the same seen from the other side", turned)

    def list(self):
        count = "document.querySelectorAll('#prompt-list button').length"
        filter_by = """((text) => {
            const box = document.getElementById("prompt-filter");
            box.value = text;
            box.dispatchEvent(new Event("input"));
        })"""
        total = self.js("data.prompts.length")
        self.same("the first page holds at most 50 prompts", self.js(count), min(total, 50))
        if total > 50:
            self.browser.click("document.getElementById('prompt-page-on')")
            self.same("a click turns to the next page", self.js(count), min(total - 50, 50))
            self.browser.click("document.getElementById('prompt-page-back')")
            self.same("and back", self.js(count), 50)
        wanted = self.js("data.prompts.filter((p) => `${p.id}\\n${p.prompt}`.toLowerCase().includes(data.prompts.at(-1).id.toLowerCase())).length")
        self.js(f"{filter_by}(data.prompts.at(-1).id)")
        self.same("the filter finds a prompt by its id", self.js(count), min(wanted, 50))
        self.js(f"{filter_by}('no prompt says \\u2603 this')")
        self.same("the filter can leave nothing", self.js(count), 0)
        self.js(f"{filter_by}('')")
        chosen = self.js("data.measures.findIndex((m) => data.prompts.some((p) => valueOf(p, data.models[0], m.name) !== null))")
        if chosen < 0:
            return print("skipped: sorting the prompts (no measure is defined)")
        self.js(f"document.getElementById('prompt-sort').selectedIndex = {chosen + 1}; document.getElementById('prompt-sort').dispatchEvent(new Event('change'))")
        values = self.js("list.prompts.map(sortKey()).filter((value) => value !== null)")
        self.same("the prompts are sorted by a model's measure", values, sorted(values, reverse=True))
        self.js("document.getElementById('prompt-sort').selectedIndex = 0; document.getElementById('prompt-sort').dispatchEvent(new Event('change'))")

    def reading(self):
        browser, title = self.browser, "document.getElementById('reader-title').textContent"
        self.js("document.querySelector('#prompt-list button').focus()")
        browser.press("Enter")
        self.check("Enter opens a prompt", self.js("document.getElementById('reader').open"))
        shown = "[...document.querySelectorAll('#reader-models article .story p')]"
        literal_of = lambda place: self.js(f"""(() => {{
            const prompt = data.prompts[{place}];
            const texts = data.models.flatMap((model) => (prompt.models[model]?.responses ?? []).map((response) => response.text));
            const seen = {shown}.map((p) => p.textContent);
            return texts.length === seen.length && texts.every((text, i) =>
                text.length <= 3000 ? seen[i] === text : seen[i].endsWith("…") && text.startsWith(seen[i].slice(0, -1)));
        }})()""")
        self.check("its stories stand there letter by letter", literal_of(0))
        marked = self.js("""(() => {
            const columns = [...document.querySelectorAll("#reader-models .model")];
            return columns.every((column, i) => {
                const stories = data.prompts[0].models[data.models[i]]?.responses ?? [];
                const space = ["semantic", "style"].find((s) => new Set(stories.map((r) => r[s])).size > 1);
                const marks = (kind) => [...column.querySelectorAll("article")].findIndex((a) => a.querySelector(`.mark.${kind}`));
                if (!space) return marks("most") === -1 && marks("least") === -1;
                const values = stories.map((r) => r[space]);
                return values[marks("most")] === Math.max(...values) && values[marks("least")] === Math.min(...values);
            });
        })()""")
        self.check("the most and the least deviant story of each model are marked, and no others", marked)
        self.same("a story brings no elements of its own", self.js(f"{shown}.reduce((sum, p) => sum + p.childElementCount, 0)"), 0)
        self.same("there is a column a model", self.js("document.querySelectorAll('#reader-models .model').length"), self.js("data.models.length"))
        whole = self.js("""(() => {
            const button = document.querySelector("#reader-models article button");
            if (!button) return null;
            const story = button.parentElement;
            button.click();
            return data.models.some((m) => data.prompts[0].models[m]?.responses.some((r) => r.text === story.querySelector("p").textContent));
        })()""")
        if whole is not None:
            self.check("a long story is shown whole on demand", whole)
        if self.js("data.prompts.length") > 1:
            first = self.js(title)
            self.js("document.getElementById('reader-title').focus()")
            browser.press("ArrowRight")
            self.check("the arrow goes to the next prompt", self.js(title) != first, first)
            browser.press("ArrowLeft")
            self.same("and back", self.js(title), first)
        many = min(self.js("data.prompts.length"), 12)
        read = [literal_of(0)]
        for place in range(1, many):
            self.js("document.getElementById('reader-title').focus()")
            browser.press("ArrowRight")
            read.append(literal_of(place) and self.js(f"{shown}.every((p) => p.childElementCount === 0)"))
        self.same(f"so do those of {many} prompts", read, [True] * many)
        for _ in range(1, many):
            browser.press("ArrowLeft")
        browser.press("Escape")
        self.check("Escape closes it", not self.js("document.getElementById('reader').open"))
        self.same("the focus is back on the prompt", self.js("document.activeElement.dataset.prompt"), self.js("data.prompts[0].id"))
        browser.click("document.querySelector('#prompt-list button')")
        self.check("a click opens a prompt, too", self.js("document.getElementById('reader').open"))
        browser.click("document.getElementById('reader-close')")
        self.check("and a click closes it", not self.js("document.getElementById('reader').open"))

    def looks(self):
        ground = "getComputedStyle(document.body).backgroundColor"
        light = self.js(ground)
        self.browser.view(1280, 900, "dark")
        dark = self.js(ground)
        self.check("a dark system gets a dark page", light != dark and max(map(int, dark[4:-1].split(","))) < 80, dark)
        for width in [360, 1280]:
            self.browser.view(width, 740, "light")
            self.check(f"at {width} px the page is no wider than the view", self.js("document.documentElement.scrollWidth") <= width, self.js("document.documentElement.scrollWidth"))
        self.browser.view(360, 740, "light")
        self.js("document.querySelector('#prompt-list button').click()")
        self.check("nor is a prompt", self.js("document.getElementById('reader').scrollWidth") <= 360, self.js("document.getElementById('reader').scrollWidth"))
        self.js("document.getElementById('reader').close()")

    def safety(self):
        browser = self.browser
        self.same("nothing hidden in a text ran", self.js("typeof window.hacked"), "undefined")
        self.same("no dialog came up", browser.happened("Page.javascriptDialogOpening"), [])
        self.same("the policy was not violated", self.js("violations"), [])
        said = [event["exceptionDetails"]["text"] for event in browser.happened("Runtime.exceptionThrown")]
        said += [str(event["args"]) for event in browser.happened("Runtime.consoleAPICalled") if event["type"] in ("error", "warning")]
        said += [event["entry"]["text"] for event in browser.happened("Log.entryAdded") if event["entry"]["level"] in ("error", "warning")]
        self.same("the console is silent", said, [])
        asked = {event["request"]["url"] for event in browser.happened("Network.requestWillBeSent")}
        self.same("nothing but the file is asked for", asked, {self.address})
        # The last check, since it violates the content security policy on purpose.
        self.js("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.added = 1'}))")
        self.same("the policy stops a script that is not the page's", self.js("typeof window.added"), "undefined")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--screenshots", type=pathlib.Path)
    arguments = parser.parse_args()
    path = prepare.find()
    if not path:
        print("skipped: there is no Chromium here (tests/browser/prepare.py can install one)")
        return 77
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(path, profile)
        checks = Checks(browser, arguments.report.resolve().as_uri(), arguments.screenshots)
        try:
            checks.open()
            for part in [checks.structure, checks.sorting, checks.comparisons, checks.list, checks.reading, checks.looks]:
                part()
            checks.pictures("light", 1280, 1000, "light")
            checks.pictures("dark", 1280, 1000, "dark")
            checks.pictures("phone", 360, 740, "light")
            checks.safety()
        except (RuntimeError, TimeoutError) as error:
            checks.check("the page answers", False, error)
        finally:
            browser.close()
    print(f"{checks.failed} of the checks failed" if checks.failed else "all checks hold")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
