"""What a shopper tells a consent tool reaches the store, and nothing that was not told.

The tools are played by scripts that do what their documentation says; the tags are those of
docs/consent.md. Each has ``tool.load(word)``, for a page that opens with an answer which the tool
has kept, with ``"unneeded"`` or with none, and ``tool.answer(word)`` for the shopper's click.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page

from proxy.facts import Consent, ConsentState
from tests.browser.conftest import GPC, Host, Shop

ROOT = Path(__file__).parents[2]
DIST = ROOT / "static" / "dist"
DOCS = (ROOT / "docs" / "consent.md").read_text(encoding="utf-8")

EMAIL = "jane@shop-demo.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A consent tool: what it is called, what it does on a page, and what it has on record."""

    name: str
    source: str
    script: str
    granted: str
    unneeded: str
    garbage: tuple[str, ...]
    tells_answers_from_rules: bool = True

    def __str__(self) -> str:
        return self.name

    @property
    def tag(self) -> str:
        """The tag as the documentation has it."""
        (tag,) = re.findall(rf'^<script defer src="/co/consent-{self.name}\.js".*$', DOCS, re.M)
        return str(tag)

    def html(self, word: str = "", *, tag: str = "") -> str:
        """Return a part of a page with the tool's own tags, and ours; *word* as ``tool.load``'s."""
        load = f"tool.load({json.dumps(word)})" if word else ""
        return f"<script>{self.script};{load}</script>{tag or self.tag}"

    def consent(self, evidence: str = "") -> Consent:
        return Consent(
            state=ConsentState.GRANTED, source=self.source, evidence=evidence or self.granted
        )


# developers.google.com, "Set up consent mode on websites": gtag() pushes its `arguments`.
GOOGLE = Tool(
    name="google",
    source="Google Consent Mode",
    granted="ad_user_data=granted",
    unneeded="ad_user_data=granted",
    tells_answers_from_rules=False,
    script="""
      window.dataLayer = window.dataLayer || [];
      function gtag() { dataLayer.push(arguments); }
      const all = (word) => ({
        ad_storage: word, ad_user_data: word, ad_personalization: word, analytics_storage: word,
      });
      gtag("consent", "default", { ...all("granted"), region: ["US"] });
      gtag("consent", "default", { ...all("denied"), wait_for_update: 500 });
      gtag("js", new Date());
      dataLayer.push({ event: "consent", update: "granted" });
      window.tool = {
        load(word) { if (word) this.answer(word.replace("unneeded", "granted")); },
        answer(word) { gtag("consent", "update", all(word)); },
      };
    """,
    garbage=(
        "dataLayer.push(null, 7, 'consent', ['consent', 'update'], { consent: 'update' })",
        "gtag('consent'); gtag('consent', 'update', null); gtag('consent', 'update', 'granted')",
        "gtag('consent', 'update', { ad_storage: 'granted' })",
        "gtag('consent', 'update', { ad_user_data: true })",
        "window.dataLayer = 7",
    ),
)

# The framework's "CMP API v2": a stub that queues calls, and a tool that calls back at once, still
# loading, and then with each change.
TCF = Tool(
    name="tcf",
    source="TCF",
    granted="COtybn4PA_zT4KjACBENAPCIAEBAAECAAIAAAAAAAAAA.granted",
    unneeded="gdprApplies=false",
    script="""
      const queue = [], listeners = new Map();
      window.__tcfapi = (...call) => { queue.push(call); };
      let now = { cmpStatus: "loading", gdprApplies: undefined, purpose: { consents: {} } };
      const call = (id) => listeners.get(id)({ ...now, listenerId: id }, true);
      const become = (next) => { now = next; for (const id of listeners.keys()) call(id); };
      const tc = (word, eventStatus) => ({
        tcString: "COtybn4PA_zT4KjACBENAPCIAEBAAECAAIAAAAAAAAAA." + word,
        tcfPolicyVersion: 4, cmpId: 1000, cmpVersion: 1000, cmpStatus: "loaded", eventStatus,
        gdprApplies: true, isServiceSpecific: true, publisherCC: "AT", purposeOneTreatment: false,
        purpose: {
          consents: Object.fromEntries([1, 2, 3, 4].map((id) => [id, word === "granted"])),
          legitimateInterests: { 2: true },
        },
        vendor: { consents: {}, legitimateInterests: {} },
        publisher: { consents: {}, legitimateInterests: {}, restrictions: { 1: { 7: 0 } } },
      });
      window.tool = {
        load(word) {
          window.__tcfapi = (command, version, callback) => {
            if (command !== "addEventListener" || version !== 2) return callback(null, false);
            listeners.set(listeners.size + 1, callback);
            call(listeners.size);
          };
          for (const args of queue) window.__tcfapi(...args);
          if (word === "unneeded") become({ gdprApplies: false, tcfPolicyVersion: 4, cmpId: 1000 });
          else become(word ? tc(word, "tcloaded") : tc("", "cmpuishown"));
        },
        answer(word) {
          become({ ...now, eventStatus: "cmpuishown" });
          become(tc(word, "useractioncomplete"));
        },
        become,
      };
    """,
    garbage=(
        "window.__tcfapi = 7",
        "window.__tcfapi = (command, version, callback) => callback(null, false)",
        "window.__tcfapi = (command, version, callback) => callback(null, true)",
        "window.__tcfapi = (command, version, callback) => callback({ gdprApplies: null }, true)",
        "tool.load(); tool.become({ gdprApplies: true, eventStatus: 'tcloaded', tcString: 'CO' })",
        "tool.load(); tool.become({ ...tc('', 'tcloaded'), purpose: { consents: 'granted' } })",
        "tool.load(); tool.become({ ...tc('granted', 'tcloaded'), gdprApplies: undefined })",
        "tool.load(); tool.become(tc('granted', 'cmpuiclosed'))",
    ),
)

# shopify.dev, "Customer Privacy API": the API is there once loadFeatures() calls back.
SHOPIFY = Tool(
    name="shopify",
    source="Shopify",
    granted="marketing=yes",
    unneeded="marketing=",
    script="""
      const waiting = [];
      let marketing = "", isNeeded = true;
      const collected = () => {
        const detail = { marketingAllowed: marketing === "yes" };
        document.dispatchEvent(new CustomEvent("visitorConsentCollected", { detail }));
      };
      window.Shopify = {
        loadFeatures(features, callback) {
          const { name, version } = features[0];
          if (name !== "consent-tracking-api" || version !== "0.1") callback(Error("unknown"));
          else if (Shopify.customerPrivacy) callback(undefined);
          else waiting.push(callback);
        },
      };
      window.tool = {
        load(word) {
          this.keep(word);
          window.Shopify.customerPrivacy = {
            currentVisitorConsent: () => ({ analytics: "", marketing, preferences: "" }),
            marketingAllowed: () => marketing === "yes" || (!isNeeded && marketing !== "no"),
          };
          for (const callback of waiting) callback(undefined);
        },
        keep(word) {
          marketing = { granted: "yes", denied: "no" }[word] ?? "";
          isNeeded = word !== "unneeded";
        },
        answer(word) { this.keep(word); collected(); },
      };
    """,
    garbage=(
        "window.Shopify = null",
        "window.Shopify.loadFeatures = (features, callback) => callback(Error('no network'))",
        "tool.load(); Shopify.customerPrivacy.currentVisitorConsent = () => undefined; collected()",
        "tool.load(); Shopify.customerPrivacy.marketingAllowed = async () => true; collected()",
        "tool.load(); Shopify.customerPrivacy = {}; collected()",
        "tool.load('denied'); Shopify.customerPrivacy.marketingAllowed = () => true; collected()",
    ),
)

# cookiebot.com/en/developer
COOKIEBOT = Tool(
    name="cookiebot",
    source="Cookiebot",
    granted="explicit Zx1==",
    unneeded="implied -1",
    script="""
      const keep = (marketing, method, stamp) => Object.assign(Cookiebot, {
        consented: marketing, declined: !marketing, hasResponse: true,
        consent: { necessary: true, preferences: true, statistics: true, marketing, method, stamp },
      });
      const tell = (...names) => { for (const name of names) dispatchEvent(new Event(name)); };
      window.tool = {
        load(word) {
          window.Cookiebot = {};
          keep(false, null, "0");
          Object.assign(Cookiebot, { declined: false, hasResponse: false });
          if (word === "unneeded") {
            keep(true, "implied", "-1");
            tell("CookiebotOnConsentReady", "CookiebotOnAccept");
          } else if (word) this.answer(word);
        },
        answer(word) {
          keep(word === "granted", "explicit", "Zx1==");
          tell("CookiebotOnConsentReady");
          tell(word === "granted" ? "CookiebotOnAccept" : "CookiebotOnDecline");
        },
      };
    """,
    garbage=(
        "window.Cookiebot = null; tell('CookiebotOnAccept')",
        "tool.load(); Cookiebot.consent = undefined; tell('CookiebotOnAccept')",
        "tool.load(); keep('false', 'explicit', '1'); tell('CookiebotOnAccept')",
        "tool.load(); Cookiebot.consent.marketing = true; tell('CookiebotOnConsentReady')",
    ),
)

# developer.onetrust.com, "Web CMP Events Guide", "Web CMP JavaScript Methods"
ONETRUST = Tool(
    name="onetrust",
    source="OneTrust",
    granted=",C0001,C0004,",
    unneeded=",C0001,C0004,",
    script="""
      let isClosed = false, rule = "opt-in";
      const activate = (...groups) => {
        window.OnetrustActiveGroups = `,${groups.join()},`;
        dispatchEvent(new CustomEvent("OneTrustGroupsUpdated", { detail: groups }));
      };
      window.tool = {
        load(word) {
          window.OneTrust = {
            IsAlertBoxClosed: () => isClosed,
            GetDomainData: () => ({ ConsentModel: { Name: rule } }),
          };
          if (word === "unneeded") rule = "opt-out", activate("C0001", "C0004");
          else if (word) this.answer(word);
          else activate("C0001");
        },
        answer(word) {
          isClosed = true;
          activate("C0001", ...(word === "granted" ? ["C0004"] : []));
        },
        close() {
          isClosed = true;
          activate(...OnetrustActiveGroups.split(",").filter(Boolean));
        },
      };
    """,
    garbage=(
        "window.OneTrust = { geolocationResponse: {} }; activate('C0004')",
        "tool.load(); OneTrust.IsAlertBoxClosed = true; activate('C0004')",
        "tool.load(); OneTrust.GetDomainData = undefined; isClosed = true; activate('C0004')",
        "tool.load(); isClosed = true; activate('C00042', 'c0004')",
    ),
)

TOOLS = (GOOGLE, TCF, SHOPIFY, COOKIEBOT, ONETRUST)
each_tool = pytest.mark.parametrize("tool", TOOLS, ids=str)


def opens(shop: Shop, html: str) -> None:
    """Have the shopper open a page that needs consent, and the pause go by."""
    shop.open(html, email=EMAIL, consent="required")
    shop.later(seconds=1)


def does(shop: Shop, script: str) -> None:
    """Have *script* run in the page, and the pause go by."""
    shop.page.evaluate(f"() => {{ {script} }}")
    shop.later(seconds=1)


# -- a yes, a no, and neither ------------------------------------------------------------


@each_tool
def test_a_yes_that_the_tool_has_kept_is_told_with_its_evidence(shop: Shop, tool: Tool) -> None:
    opens(shop, tool.html("granted"))

    (state,) = shop.states(1)
    assert (state.email, state.consent) == (EMAIL, tool.consent())


@each_tool
def test_a_tool_that_loads_after_us_is_heard(shop: Shop, tool: Tool) -> None:
    opens(shop, tool.html())
    does(shop, "tool.load()")
    assert shop.posts == []

    does(shop, "tool.answer('granted')")

    (state,) = shop.states(1)
    assert (state.email, state.consent) == (EMAIL, tool.consent())


@each_tool
def test_a_tool_that_loads_after_us_with_a_yes_is_heard(shop: Shop, tool: Tool) -> None:
    opens(shop, tool.html())

    does(shop, "tool.load('granted')")

    (state,) = shop.states(1)
    assert state.consent == tool.consent()


@each_tool
def test_it_may_stand_before_the_snippet(shop: Shop, tool: Tool) -> None:
    path = shop.publish(email=EMAIL, consent="required")
    html, headers = shop.host.pages[path]
    shop.host.pages[path] = (html.replace("<title>", f"{tool.html('granted')}<title>"), headers)

    shop.page.goto(shop.url + path)
    shop.later(seconds=1)

    (state,) = shop.states(1)
    assert state.consent == tool.consent()


@each_tool
def test_after_a_no_nothing_leaves(shop: Shop, tool: Tool) -> None:
    opens(shop, tool.html())
    does(shop, "tool.load()")

    does(shop, "tool.answer('denied')")

    shop.assert_silent()
    assert EMAIL not in shop.slot()


@each_tool
def test_before_an_answer_nothing_leaves(shop: Shop, tool: Tool) -> None:
    opens(shop, tool.html())

    does(shop, "tool.load()")

    shop.assert_silent()


@each_tool
def test_a_tool_that_never_loads_answers_nothing(shop: Shop, tool: Tool) -> None:
    opens(shop, tool.html())
    shop.assert_silent()

    opens(shop, tool.tag)
    shop.assert_silent()


@each_tool
def test_a_withdrawal_is_told(shop: Shop, tool: Tool) -> None:
    opens(shop, tool.html("granted"))
    assert shop.has_posts(1)

    does(shop, "tool.answer('denied')")

    assert shop.states(2)[1].consent == Consent(state=ConsentState.DENIED)
    assert EMAIL not in json.dumps(shop.posts[1].body)


@each_tool
def test_a_withdrawal_on_another_page_is_told(shop: Shop, tool: Tool) -> None:
    opens(shop, tool.html("granted"))
    assert shop.has_posts(1)

    opens(shop, tool.html("denied"))

    assert shop.states(2)[1].consent == Consent(state=ConsentState.DENIED)


@each_tool
def test_a_tool_that_has_no_answer_yet_takes_nothing_back(shop: Shop, tool: Tool) -> None:
    opens(shop, tool.html("granted"))
    assert shop.has_posts(1)

    opens(shop, tool.html())
    does(shop, "tool.load()")

    shop.assert_silent(posts=1)


@each_tool
def test_an_answer_given_anew_sends_anew(shop: Shop, tool: Tool) -> None:
    opens(shop, tool.html("denied"))

    does(shop, "tool.answer('granted')")

    (state,) = shop.states(1)
    assert (state.email, state.consent) == (EMAIL, tool.consent())


@each_tool
def test_what_is_said_twice_is_one_state(shop: Shop, tool: Tool) -> None:
    opens(shop, tool.html("granted") + tool.tag)
    does(shop, "tool.answer('granted')")

    (state,) = shop.states(1)
    assert state.consent == tool.consent()


# -- where nobody is asked, and Global Privacy Control -----------------------------------


@each_tool
def test_where_none_is_needed_that_is_told(shop: Shop, tool: Tool) -> None:
    opens(shop, tool.html("unneeded"))

    (state,) = shop.states(1)
    assert (state.email, state.consent) == (EMAIL, tool.consent(tool.unneeded))


@each_tool
def test_with_global_privacy_control_it_waits_for_an_answer(shop: Shop, tool: Tool) -> None:
    shop.page.add_init_script(GPC)
    opens(shop, tool.html("unneeded"))
    shop.assert_silent()

    opens(shop, tool.html("granted"))

    if tool.tells_answers_from_rules:
        (state,) = shop.states(1)
        assert state.consent == tool.consent()
    else:
        shop.assert_silent()


@each_tool
def test_who_was_not_asked_can_still_say_no(shop: Shop, tool: Tool) -> None:
    opens(shop, tool.html("unneeded"))
    assert shop.has_posts(1)

    does(shop, "tool.answer('denied')")

    assert shop.states(2)[1].consent == Consent(state=ConsentState.DENIED)


def test_googles_default_is_no_yes(shop: Shop) -> None:
    opens(shop, GOOGLE.html())

    does(shop, "gtag('consent', 'default', { ad_user_data: 'granted' })")

    shop.assert_silent()


def test_onetrusts_banner_closed_under_an_opt_out_rule_is_no_yes(shop: Shop) -> None:
    shop.page.add_init_script(GPC)
    opens(shop, ONETRUST.html("unneeded"))

    does(shop, "tool.close()")

    shop.assert_silent()


def test_onetrusts_banner_closed_under_an_opt_in_rule_is_a_no(shop: Shop) -> None:
    opens(shop, ONETRUST.html("granted"))
    assert shop.has_posts(1)
    opens(shop, ONETRUST.html())
    does(shop, "tool.load()")
    assert len(shop.posts) == 1

    does(shop, "tool.close()")

    assert shop.states(2)[1].consent == Consent(state=ConsentState.DENIED)


def test_tcf_that_asks_anew_with_the_old_answer_in_hand_has_none(shop: Shop) -> None:
    opens(shop, TCF.html())
    does(shop, "tool.load()")

    does(shop, "tool.become(tc('granted', 'cmpuishown'))")

    shop.assert_silent()


def test_shopify_on_hydrogen_is_heard(shop: Shop) -> None:
    script = "delete Shopify.loadFeatures; Shopify.customerPrivacy = {}; collected()"
    opens(shop, f"{SHOPIFY.html()}<script>{script}</script>")
    loaded = "document.dispatchEvent(new CustomEvent('shopifyCustomerPrivacyApiLoaded'))"

    does(shop, f"tool.load('granted'); {loaded}")

    (state,) = shop.states(1)
    assert state.consent == SHOPIFY.consent()


# -- what is looked at -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "option", "answer", "evidence"),
    [
        (
            GOOGLE,
            'data-type="ad_storage"',
            "gtag('consent', 'update', { ad_storage: 'granted', ad_user_data: 'denied' })",
            "ad_storage=granted",
        ),
        (
            GOOGLE,
            'data-layer="theirs"',
            "(window.theirs ||= []).push(['consent', 'update', { ad_user_data: 'granted' }])",
            "ad_user_data=granted",
        ),
        (
            TCF,
            'data-purposes="1, 2"',
            "tool.become({ ...tc('', 'tcloaded'), purpose: { consents: { 1: true, 2: true } } })",
            "COtybn4PA_zT4KjACBENAPCIAEBAAECAAIAAAAAAAAAA.",
        ),
        (ONETRUST, 'data-group="C0005"', "isClosed = true; activate('C0005')", ",C0005,"),
    ],
    ids=("data-type", "data-layer", "data-purposes", "data-group"),
)
def test_an_attribute_says_what_to_look_at(
    shop: Shop, tool: Tool, option: str, answer: str, evidence: str
) -> None:
    plain = f'<script defer src="/co/consent-{tool.name}.js"></script>'
    opens(shop, tool.html(tag=plain))
    does(shop, f"tool.load(); {answer}")
    assert shop.posts == []

    opens(shop, tool.html(tag=plain.replace("></", f" {option}></")))
    does(shop, f"tool.load(); {answer}")

    (state,) = shop.states(1)
    assert state.consent == tool.consent(evidence)


@each_tool
def test_the_attributes_of_the_documentation_are_those_that_may_be_left_out(
    shop: Shop, tool: Tool
) -> None:
    plain = f'<script defer src="/co/consent-{tool.name}.js"></script>'

    opens(shop, tool.html("granted", tag=plain))

    (state,) = shop.states(1)
    assert state.consent == tool.consent()


def test_tcf_needs_each_purpose(shop: Shop) -> None:
    opens(shop, TCF.html())

    purpose = "{ consents: { 1: true, 3: true, 4: 1 } }"
    does(shop, f"tool.load(); tool.become({{ ...tc('', 'tcloaded'), purpose: {purpose} }})")

    shop.assert_silent()


# -- on somebody else's page -------------------------------------------------------------


@each_tool
def test_what_no_documentation_says_is_no_answer(shop: Shop, tool: Tool) -> None:
    """And no error of the page's: a fixture sees to that in every test."""
    for garbage in tool.garbage:
        opens(shop, f"<script>{tool.script};{garbage}</script>{tool.tag}")
        shop.assert_silent()

        opens(shop, tool.html())
        does(shop, garbage)
        shop.assert_silent()


@each_tool
def test_a_checkout_that_throws_breaks_no_tool(shop: Shop, page: Page, tool: Tool) -> None:
    throwing = "checkoutProxy = { push() { throw Error('ours') } }"
    page.goto(shop.url + shop.publish(tool.html()))

    page.evaluate(f"{throwing}; tool.load('granted'); tool.answer('denied')")


def test_googles_queue_returns_what_it_returned(shop: Shop, page: Page) -> None:
    opens(shop, GOOGLE.html("granted"))

    assert page.evaluate("[dataLayer.length, dataLayer.push({}, {})]") == [5, 7]


def test_googles_queue_throws_what_it_threw(shop: Shop, page: Page) -> None:
    script = "dataLayer.push = () => { throw Error('theirs') }"
    opens(shop, f"<script>{GOOGLE.script};{script}</script>{GOOGLE.tag}")

    thrown = page.evaluate("() => { try { gtag('js') } catch ({ message }) { return message } }")

    assert thrown == "theirs"


# -- as ES modules -----------------------------------------------------------------------


def publish_modules(host: Host) -> str:
    """Put the package's modules on the host, and return the map of what they are imported by."""
    names = {"checkout-proxy": "index.js"} | {
        f"checkout-proxy/consent/{tool.name}": f"consent/{tool.name}.js" for tool in TOOLS
    }
    for file in names.values():
        content = (DIST / file).read_text(encoding="utf-8")
        host.pages[f"/modules/{file}"] = (content, [("Content-Type", "text/javascript")])
    imports = {name: f"/modules/{file}" for name, file in names.items()}
    return f'<script type="importmap">{json.dumps({"imports": imports})}</script>'


def open_module(shop: Shop, html: str, module: str) -> None:
    path = f"/modules/{shop.cart_id}"
    page = (
        f"<!doctype html>{publish_modules(shop.host)}"
        f"<script>const token = '{shop.token()}'</script>{html}"
        f'<input type="email" value="{EMAIL}"><script type="module">{module}</script>'
    )
    shop.host.pages[path] = (page, [])
    shop.page.goto(shop.url + path)
    shop.later(seconds=1)


def documented_module() -> str:
    (module,) = re.findall(r"^```js\n(import .*?)^```", DOCS, re.M | re.S)
    return str(module)


@each_tool
def test_the_modules_of_the_package_do_the_same(shop: Shop, tool: Tool) -> None:
    module = re.sub(r", \{ purposes.*? \}", "", documented_module())
    module = module.replace("consent/tcf", f"consent/{tool.name}")

    open_module(shop, f"<script>{tool.script}</script>", module)
    does(shop, "tool.load()")
    assert shop.posts == []
    does(shop, "tool.answer('granted')")

    (state,) = shop.states(1)
    assert (state.email, state.consent) == (EMAIL, tool.consent())


def test_the_module_of_the_documentation_works(shop: Shop) -> None:
    open_module(shop, f"<script>{TCF.script};tool.load('granted')</script>", documented_module())

    (state,) = shop.states(1)
    assert (state.email, state.consent) == (EMAIL, TCF.consent())


def test_a_queue_that_is_frozen_is_read_once(shop: Shop) -> None:
    module = documented_module().replace("consent/tcf", "consent/google")
    script = f"{GOOGLE.script};tool.load('granted');Object.freeze(dataLayer)"

    open_module(shop, f"<script>{script}</script>", module)

    (state,) = shop.states(1)
    assert state.consent == GOOGLE.consent()


# -- the documentation -------------------------------------------------------------------


def test_the_snippets_tag_of_the_documentation_is_the_one_that_is_used_here(shop: Shop) -> None:
    (tag,) = re.findall(r'^<script defer src="/co/checkout\.js".*$', DOCS, re.M)
    token = shop.token()

    html, _ = shop.host.pages[shop.publish(token=token, consent="required")]

    assert re.sub(r'data-token="[^"]*"', f'data-token="{token}"', tag) in html


def test_no_tag_of_the_documentation_is_left_untried() -> None:
    tags = re.findall(r'^<script defer src="/co/consent-.*$', DOCS, re.M)

    assert sorted(tags) == sorted(tool.tag for tool in TOOLS)


@pytest.mark.parametrize("number", [0, 1])
def test_what_the_documentation_pushes_is_a_yes(shop: Shop, number: int) -> None:
    pushes = re.findall(r"^.*[cC]heckoutProxy.*\.push\(\{.*$", DOCS, re.M)
    assert len(pushes) == 2
    opens(shop, "")

    does(shop, pushes[number])

    (state,) = shop.states(1)
    assert (
        state.consent
        == (
            Consent(state=ConsentState.GRANTED),
            Consent(state=ConsentState.GRANTED, source="Our banner", evidence="c-4711"),
        )[number]
    )
