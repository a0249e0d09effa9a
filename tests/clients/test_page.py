"""The page of the example servers, in Chromium."""

import http.server
import os
import shutil
import threading
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from conftest import ROOT

AXE = Path(os.environ["SIGNUP_NODE_MODULES"], "axe-core", "axe.min.js")
ONCE = "This key is shown once. Copy it now and keep it safe: nobody can show it again."


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not run as root.
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def context(request, chromium):
    context = chromium.new_context(
        color_scheme=request.param,
        permissions=["clipboard-read", "clipboard-write"],
        viewport={"width": 640, "height": 820},
    )
    context.color_scheme = request.param
    yield context
    context.close()


@pytest.fixture
def page(context, server):
    page = context.new_page()
    said = []
    # Also what the page's own policy refuses.
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(server.url)
    yield page
    # The browser itself reports an answer that is an error.
    assert [text for text in said if "Failed to load resource" not in text] == []


def check_accessible(page):
    page.evaluate(AXE.read_text())
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    violations = page.evaluate("rules => axe.run(rules)", rules)["violations"]
    assert violations == []


def picture(page, context, name):
    """The README's pictures are made here, one light and one dark."""
    if os.environ.get("UPDATE_DOCS") and name.endswith(context.color_scheme):
        page.locator("main").screenshot(path=ROOT / "docs" / f"{name}.png")


def test_sign_up_by_keyboard_and_see_the_key_once(page, context):
    expect(page).to_have_title("Create an account")
    check_accessible(page)
    # Nothing but the keyboard: the fields and the button, in their order.
    for text in ["dev@example.com", "correct horse", "Jane Developer"]:
        page.keyboard.press("Tab")
        page.keyboard.type(text)
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="Your account is ready")).to_be_focused()
    account = page.get_by_role("region", name="Your account is ready")
    for shown in ["dev@example.com", "Jane Developer", "trial", "acc_", ONCE]:
        expect(account).to_contain_text(shown)
    expect(page.get_by_label("Email")).to_be_hidden()
    check_accessible(page)
    picture(page, context, "page-account-light")

    key = page.locator("#api-key").inner_text()
    assert key.startswith("rag_live_")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#copied")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == key
    assert len(page.locator("#token").inner_text().split(".")) == 3

    page.reload()
    expect(page.get_by_label("Email")).to_be_visible()
    assert key not in page.content()
    storages = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
    assert storages == [0, 0, ""]


def test_what_is_wrong_stands_beside_its_field(page, context):
    page.get_by_label("Email").fill("nobody")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Create account").click()
    email, password = page.get_by_label("Email"), page.get_by_label("Password")
    expect(email).to_be_focused()
    expect(email).to_have_attribute("aria-invalid", "true")
    expect(email).to_have_accessible_description("Invalid email")
    too_short = "String must contain at least 8 character(s)"
    expect(password).to_have_accessible_description(too_short)
    expect(page.get_by_label("Name")).not_to_have_attribute("aria-invalid", "true")
    check_accessible(page)
    picture(page, context, "page-errors-dark")

    # What has been mended is no longer wrong.
    email.fill("dev@example.com")
    page.get_by_role("button", name="Create account").click()
    expect(password).to_be_focused()
    expect(email).not_to_have_attribute("aria-invalid", "true")
    expect(email).to_have_accessible_description("")


def test_a_taken_email_and_a_lost_server_are_told(page, server):
    def submit():
        page.get_by_label("Email").fill("dev@example.com")
        page.get_by_label("Password").fill("correct horse")
        page.get_by_label("Name").fill("<b>Jane</b>")
        page.get_by_role("button", name="Create account").click()

    submit()
    expect(page.locator("#account-name")).to_have_text("<b>Jane</b>")
    page.reload()
    submit()
    taken = "An account with this email already exists"
    expect(page.get_by_label("Email")).to_have_accessible_description(taken)
    server.stop()
    submit()
    lost = "The server can't be reached. Please try again."
    # It tries again before it says so.
    expect(page.get_by_role("alert")).to_have_text(lost, timeout=20_000)


def test_an_answer_that_is_lost_is_asked_for_again(page):
    sent = []

    def lose(route):
        """Lets the request reach the server twice, and no answer come back."""
        sent.append((route.request.headers["idempotency-key"], route.request.post_data))
        answer = route.fetch()
        assert answer.status == 201
        if len(sent) < 3:
            route.abort("connectionreset")
        else:
            assert answer.headers["idempotency-replayed"] == "true"
            route.fulfill(response=answer)

    page.route("**/auth/signup", lose)
    page.get_by_label("Email").fill("lost@example.com")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Create account").click()
    expect(page.locator("#account-email")).to_have_text("lost@example.com", timeout=20_000)
    assert page.locator("#api-key").inner_text().startswith("rag_live_")
    assert len(sent) == 3 and len(set(sent)) == 1

    # Another sign-up has another key, and so has the same one once it is answered.
    page.unroute("**/auth/signup")
    page.reload()
    with page.expect_request("**/auth/signup") as request:
        page.get_by_label("Email").fill("other@example.com")
        page.get_by_label("Password").fill("correct horse")
        page.get_by_role("button", name="Create account").click()
    expect(page.locator("#account-email")).to_have_text("other@example.com")
    assert request.value.headers["idempotency-key"] != sent[0][0]


@pytest.mark.parametrize("name", ["axum", "actix"])
def test_a_code_from_the_mailbox_completes_the_sign_up(name, start, context):
    server = start(name, SIGNUP_VERIFICATION="first")
    page = context.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(server.url)
    page.get_by_label("Email").fill("dev@example.com")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("heading", name="Check your mail")).to_be_focused()
    check_accessible(page)
    code = page.locator("#code")
    expect(code).to_have_attribute("autocomplete", "one-time-code")

    first = server.code("dev@example.com")
    code.fill("0000-0000" if first != "0000-0000" else "1111-1111")
    page.keyboard.press("Enter")
    expect(code).to_be_focused()
    expect(code).to_have_accessible_description("Invalid or expired code")
    page.get_by_role("button", name="Send another code").click()
    expect(page.get_by_role("status").first).to_contain_text("Another code is on its way.")
    expect(code).to_have_accessible_description("")

    # Pasted as a whole, as it stands in the mail; and the first answer is lost.
    second = server.code("dev@example.com", 2)
    answers = []

    def lose(route):
        answers.append(route.fetch().status)
        route.abort("connectionreset") if len(answers) == 1 else route.continue_()

    page.route("**/auth/signup/verify", lose)
    page.evaluate("text => navigator.clipboard.writeText(text)", f" {second.lower()} \n")
    code.focus()
    page.keyboard.press("Control+V")
    page.get_by_role("button", name="Complete sign-up").click()
    expect(page.get_by_role("heading", name="Your account is ready")).to_be_focused(timeout=20_000)
    assert answers[0] == 201 and len(answers) == 2
    assert page.locator("#api-key").inner_text().startswith("rag_live_")
    expect(code).to_be_hidden()

    # Who has an account gets the same page, and no code.
    page.reload()
    page.get_by_label("Email").fill("dev@example.com")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("heading", name="Check your mail")).to_be_focused()
    assert [text for text in said if "Failed to load resource" not in text] == []


@pytest.mark.parametrize("name", ["axum", "actix"])
def test_an_account_confirms_its_address_by_the_code_of_a_mail(name, start, context):
    server = start(name, SIGNUP_VERIFICATION="after")
    page = context.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(server.url)
    page.get_by_label("Email").fill("dev@example.com")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("heading", name="Your account is ready")).to_be_focused()
    assert page.locator("#api-key").inner_text().startswith("rag_live_")
    check_accessible(page)
    code = page.locator("#confirm-code")
    expect(code).to_have_attribute("autocomplete", "one-time-code")

    mailed = server.code("dev@example.com")
    code.fill("0000-0000" if mailed != "0000-0000" else "1111-1111")
    page.keyboard.press("Enter")
    expect(code).to_be_focused()
    expect(code).to_have_accessible_description("Invalid or expired code")
    page.get_by_role("button", name="Send another code").click()
    expect(page.locator("#confirmed")).to_have_text("The code is on its way again.")

    # Pasted as a whole; and the first answer is lost.
    again = server.code("dev@example.com", 2)
    answers = []

    def lose(route):
        answers.append(route.fetch().status)
        route.abort("connectionreset") if len(answers) == 1 else route.continue_()

    page.route("**/auth/email/verify", lose)
    page.evaluate("text => navigator.clipboard.writeText(text)", f" {again.lower()} \n")
    code.focus()
    page.keyboard.press("Control+V")
    page.get_by_role("button", name="Confirm address").click()
    expect(page.locator("#confirmed")).to_have_text("Your address is confirmed.", timeout=20_000)
    assert answers == [204, 204]
    expect(code).to_be_hidden()
    check_accessible(page)
    assert [text for text in said if "Failed to load resource" not in text] == []


@pytest.fixture
def elsewhere():
    """A page of another origin's: the same address, another port."""

    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


SIGN_UP = """async ([url, contentType]) => {
    const body = JSON.stringify({ email: "dev@example.com", password: "correct horse" });
    const headers = { "Content-Type": contentType };
    // A header that a page of another origin has to be allowed.
    if (contentType === "application/json") headers["Idempotency-Key"] = crypto.randomUUID();
    try {
        const answer = await fetch(`${url}/auth/signup`, { method: "POST", headers, body });
        return [answer.status, Object.keys(await answer.json())];
    } catch (error) {
        return [error.name, []];
    }
}"""


@pytest.mark.parametrize("name", ["axum", "actix"])
def test_another_origin_signs_up_where_it_is_allowed_to(name, start, chromium, elsewhere):
    page = chromium.new_page()
    page.goto(elsewhere)
    refusing, allowing = start(name), start(name, SIGNUP_CORS_ORIGIN=elsewhere)
    json = "application/json"
    # The preflight fails, and the request is not sent; what needs none is a 415.
    assert page.evaluate(SIGN_UP, [refusing.url, json]) == ["TypeError", []]
    assert page.evaluate(SIGN_UP, [refusing.url, "text/plain"]) == ["TypeError", []]
    assert page.evaluate(SIGN_UP, [allowing.url, json]) == [201, ["data"]]
    assert page.evaluate(SIGN_UP, [allowing.url, json]) == [409, ["error"]]
    # Nothing had come of it where it was refused.
    page.goto(refusing.url)
    assert page.evaluate(SIGN_UP, ["", json]) == [201, ["data"]]
    page.close()
