"""The page at `/`, as a browser is given it."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from accounts.models import User

pytestmark = pytest.mark.django_db

STATIC = Path(finders.find("chat/page.js")).parent
IMPORT = re.compile(r'^import .* from "(.+)";$', re.MULTILINE)


class Page(HTMLParser):
    """What a page's markup holds: its elements, and what stands inside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] in ("script", "style"):
            self.inline += data.strip()

    def attributes(self, *names: str) -> list[str]:
        return [value for _, held in self.elements for name in names if (value := held.get(name)) is not None]

    def element(self, tag: str, **held: str) -> dict[str, str | None]:
        return next(has for name, has in self.elements if name == tag and held.items() <= has.items())


def page_of(username: str = "alice", *, is_staff: bool = False) -> Page:
    client = Client()
    client.force_login(User.objects.create_user(username, is_staff=is_staff))
    response = client.get("/")
    assert response.status_code == 200
    return Page(response.content.decode())


def test_who_is_not_signed_in_is_sent_to_the_login() -> None:
    response = Client().get("/")
    assert (response.status_code, response["Location"]) == (302, "/login/?next=/")


def test_its_files_exist() -> None:
    references = page_of().attributes("src", "href")
    files = [reference.removeprefix("/static/") for reference in references if reference.startswith("/static/")]
    assert {"chat/page.js", "chat/page.css"} <= set(files)
    assert all(finders.find(file) for file in files)


def test_the_modules_that_its_script_imports_exist() -> None:
    seen, left = set(), ["chat/page.js"]
    while left:
        seen.add(name := left.pop())
        found = finders.find(name)
        assert found, name
        left += [
            path for other in IMPORT.findall(Path(found).read_text()) if (path := urljoin(name, other)) not in seen
        ]
    assert seen == {f"chat/{file.name}" for file in STATIC.glob("*.js")}


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    page = page_of()
    assert page.inline == ""
    assert not page.attributes("style")
    assert not [name for _, held in page.elements for name in held if name.startswith("on")]
    links = page.attributes("src", "href", "action", "srcset", "poster", "data")
    assert links and all(re.match(r"/(?!/)|#", link) for link in links)


def test_its_policy_lets_it_load_only_its_own_files() -> None:
    equivalent = {"http-equiv": "Content-Security-Policy"}
    policy = page_of().element("meta", **equivalent)["content"] or ""
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy


@pytest.mark.parametrize("file", sorted(STATIC.iterdir()), ids=lambda file: file.name)
def test_its_files_load_nothing_and_make_no_markup_of_text(file: Path) -> None:
    text = file.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(", text)


def test_what_a_keyboard_and_a_screen_reader_need() -> None:
    page = page_of()
    assert page.element("html")["lang"] == "en"
    assert page.element("label", **{"for": "question"})
    assert page.element("div", id="spoken")["aria-live"] == "polite"
    assert page.element("p", id="connection")["role"] == "status"


def test_what_is_left_is_shown_once_it_is_known() -> None:
    assert "hidden" in page_of().element("p", id="spending")


def test_signing_out_is_a_post_with_a_token() -> None:
    page = page_of()
    form = page.element("form", id="sign-out")
    assert (form["method"], form["action"]) == ("post", "/logout/")
    assert page.element("input", name="csrfmiddlewaretoken")["value"]


@pytest.mark.parametrize("is_staff", [True, False])
def test_only_staff_see_the_admin(is_staff: bool) -> None:
    assert ("/admin/" in page_of(is_staff=is_staff).attributes("href")) is is_staff


def test_a_name_stays_text() -> None:
    page = page_of("<b onclick=x>&'\"")
    assert page.element("body")["data-user"] == "<b onclick=x>&'\""
    assert not [tag for tag, _ in page.elements if tag == "b"]
