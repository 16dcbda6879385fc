"""Measure pages of the built documentation in a browser: header, sidebar and horizontal scroll.

python tools/measure_pages.py FOLDER [--pictures FOLDER] [--browser /usr/bin/chromium]

FOLDER is what `sphinx-build` wrote. The script needs the package `playwright` and a Chromium. It
prints a line for each page and width, and fails if the header has several rows, a link of the
header is hidden on a wide page, a sidebar is missing, or a page is wider than the window.
"""

import argparse
import pathlib
import sys

from playwright.sync_api import sync_playwright


PAGES = (
    "index",
    "start",
    "install",
    "notebooks/quickstart",
    "gallery",
    "migration",
    "plenoptic_names",
    "tutorials",
    "notebooks/metamers",
    "notebooks/mad",
    "howto",
    "faq",
    "tips",
    "cite",
    "concepts",
    "how_it_works",
    "glossary",
    "api/index",
    "api/synthesis",
    "api/generated/plenoptax.metamer_function",
    "about",
    "changelog",
    "decisions",
    "search",
)
GROUPS = ("Start", "Tutorials", "How-to", "Concepts", "API", "About")
# Widths in pixels, and whether the header shows its links and the page its sidebar.
WIDTHS = {1920: True, 1400: True, 375: False}

BOXES = """() => {
    const box = (node) => {
        const { left, top, width, height } = node.getBoundingClientRect();
        return { left, top, width, height, text: node.innerText.trim() };
    };
    const boxes = (query) => [...document.querySelectorAll(query)].map(box);
    const visible = (query) => boxes(query).filter((one) => one.width > 0 && one.height > 0);
    const root = document.documentElement;
    // Content beside the window, unless it scrolls in a box of its own.
    const inside = (node) => node.getBoundingClientRect().right <= root.clientWidth + 1;
    const scrolls = (node) => /auto|scroll/.test(getComputedStyle(node).overflowX);
    const cut = [...document.querySelectorAll("article.bd-article *")].filter((node) => {
        for (let one = node; one.tagName !== "ARTICLE"; one = one.parentElement) {
            if (inside(one) && (one === node || scrolls(one))) return false;
        }
        return true;
    });
    return {
        header: visible(".bd-header")[0],
        links: visible(".bd-header .navbar-nav > li > a, .bd-header .navbar-nav > li > button"),
        sidebar: visible(".bd-sidebar-primary .bd-docs-nav a"),
        images: [...document.querySelectorAll("main img")].filter((image) => !image.alt).length,
        scroll: root.scrollWidth - root.clientWidth,
        cut: cut.slice(0, 3).map((node) => node.tagName + "." + node.className),
    };
}"""


def problems_of(found, is_wide):
    """What is wrong with a page at one width."""
    rows = {round(link["top"]) for link in found["links"]}
    texts = tuple(link["text"] for link in found["links"] if link["text"])
    if found["scroll"] > 0:
        yield f"scrolls sideways by {found['scroll']} pixels"
    if found["cut"]:
        yield f"content is wider than the page: {found['cut']}"
    if is_wide and len(rows) != 1:
        yield f"the links of the header have {len(rows)} rows"
    if is_wide and texts != GROUPS:
        yield f"the header shows {texts}"
    if is_wide and not found["sidebar"]:
        yield "no sidebar"
    if found["images"]:
        yield f"{found['images']} images without an alternative text"


def measure(folder, browser, pictures):
    """Print a line for each page and width; return whether all is well."""
    good = True
    for width, is_wide in WIDTHS.items():
        page = browser.new_page(viewport={"width": width, "height": 900})
        for name in PAGES:
            page.goto((folder / f"{name}.html").as_uri())
            found = page.evaluate(BOXES)
            problems = list(problems_of(found, is_wide))
            good &= not problems
            print(
                f"{width:5} {name:42} header {found['header']['height']:.0f} pixels, "
                f"{len(found['sidebar'])} links in the sidebar, scroll {found['scroll']}"
                + "".join(f"; WRONG: {problem}" for problem in problems)
            )
            if pictures:
                page.screenshot(path=pictures / f"{width}-{name.replace('/', '-')}.png")
        page.close()
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=arguments.browser, args=["--no-sandbox"]
        )
        good = measure(arguments.folder.resolve(), chromium, arguments.pictures)
        chromium.close()
    sys.exit(0 if good else "some pages are not as they should be")
