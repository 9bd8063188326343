#!/usr/bin/env python3
"""The report in a headless Chromium: no console message, no network request, no page wider than the screen, the text
is there. The pages are made by report_test (INGOT_BIN's folder, or REPORT_TEST). Exit 77: no browser here."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

SKIP = 77


def skip(why):
    print("skipped:", why)
    sys.exit(SKIP)


def browser_run(browser, folder, page, *args):
    """Standard output and error of one headless visit, and the URLs that its network log names."""
    log = os.path.join(folder, "net.json")
    if os.path.exists(log):
        os.unlink(log)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               "--disable-background-networking", "--disable-component-update", "--disable-sync",
               "--disable-default-apps", "--disable-extensions", "--host-resolver-rules=MAP * ~NOTFOUND",
               "--enable-logging=stderr", "--v=0", "--user-data-dir=" + os.path.join(folder, "profile"),
               "--log-net-log=" + log, *args, "file://" + page]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, errors="replace")
    urls = set()
    if os.path.exists(log):
        with open(log, encoding="utf-8", errors="replace") as f:
            urls = set(re.findall(r'"url":"([a-z]+://[^"]+)"', f.read()))
    return run, urls


def main():
    browser = next((b for b in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if b), None)
    if not browser:
        skip("no chromium (apt-get install chromium)")
    maker = os.environ.get("REPORT_TEST") or os.path.join(os.path.dirname(os.environ.get("INGOT_BIN", "")), "tests",
                                                          "report_test")
    if not os.path.exists(maker):
        skip(f"no {maker} that makes the pages (build report_test)")
    with tempfile.TemporaryDirectory(prefix="ig_report_browser_") as folder:
        env = dict(os.environ, IG_REPORT_KEEP=folder)
        made = subprocess.run([maker, "--gtest_filter=*SaysHowGood*:*ComparesRuns*"], env=env, capture_output=True,
                              text=True)
        assert made.returncode == 0, made.stdout + made.stderr
        shots = os.environ.get("IG_REPORT_SHOTS", folder)
        # A page of our own that breaks both rules: what the checks below must notice.
        broken = os.path.join(folder, "broken.html")
        with open(broken, "w", encoding="utf-8") as f:
            f.write("<script>console.error('noticed')</script><img src=http://example.invalid/x.png>")
        run, urls = browser_run(browser, folder, broken, "--dump-dom")
        assert "CONSOLE" in run.stderr, "the console check is blind:\n" + run.stderr[-2000:]
        assert any("example.invalid" in u for u in urls), f"the network check is blind: {urls}"

        for name, texts in (("report", ["88.8 %", "Confusion matrix", "Worst mistakes", "With care.", "\\xff.png"]),
                            ("compare", ["3 runs compared", "Settings that differ", "Validation accuracy"])):
            page = os.path.join(folder, name + ".html")
            run, urls = browser_run(browser, folder, page, "--dump-dom")
            assert run.returncode == 0, run.stderr[-2000:]
            assert "CONSOLE" not in run.stderr, [l for l in run.stderr.splitlines() if "CONSOLE" in l]
            outside = sorted(u for u in urls if page_is_outside(u))
            assert not outside, outside
            for text in texts:
                assert text in run.stdout, f"{name}: {text!r} is not in the page"
            assert "<script" not in run.stdout
            assert all(u.startswith("data:image/jpeg;base64,") for u in re.findall(r'<img[^>]* src="([^"]*)"', run.stdout))
            for width, height in ((1280, 2600), (500, 2600)):
                picture = os.path.join(shots, f"{name}_{width}.png")
                run, _ = browser_run(browser, folder, page, f"--window-size={width},{height}", "--hide-scrollbars",
                                     "--screenshot=" + picture)
                assert run.returncode == 0 and os.path.getsize(picture) > 20000, run.stderr[-2000:]
            check_fits(browser, folder, page)
    print("ok")


def page_is_outside(url):
    """Chromium's own start-up requests are not the page's; with no page at all they are there too."""
    return url.startswith(("http:", "https:", "ws:", "wss:")) and not re.match(
        r"https?://([a-z0-9-]+\.)*(google|googleapis|gstatic|gvt1|chromium)\.[a-z]+/", url)


def check_fits(browser, folder, page):
    """At 400 pixels nothing but the tables' own scrollers is wider than the screen: measured in a frame of a page of
    ours that may run a script, on a copy without the policy."""
    copy = os.path.join(folder, "copy.html")
    with open(page, encoding="utf-8") as f:
        text = re.sub(r"<meta http-equiv=Content-Security-Policy[^>]*>", "", f.read())
    with open(copy, "w", encoding="utf-8") as f:
        f.write(text)
    frame = os.path.join(folder, "frame.html")
    with open(frame, "w", encoding="utf-8") as f:
        f.write("<iframe id=f src=copy.html style='width:400px;height:800px;border:0'></iframe><pre id=o></pre><script>"
                "f.onload=()=>{let d=f.contentDocument.documentElement;o.textContent='W'+JSON.stringify([d.scrollWidth,"
                "d.clientWidth])}</script>")
    run, _ = browser_run(browser, folder, frame, "--dump-dom", "--allow-file-access-from-files",
                         "--virtual-time-budget=4000")
    found = re.search(r"W(\[\d+,\d+\])", run.stdout)
    assert found, run.stdout[-500:] + run.stderr[-500:]
    wide, screen = json.loads(found.group(1))
    assert wide <= screen, f"{page}: {wide} pixels wide on a screen of {screen}"


if __name__ == "__main__":
    main()
