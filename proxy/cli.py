"""The command ``checkout-proxy``."""

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import click
import msgspec

from proxy import advice, logs, shops, story
from proxy.carts import shown
from proxy.carts.cart import Cart
from proxy.carts.source import CartRef
from proxy.checkouts import Status, public_id
from proxy.claims import Compared
from proxy.errors import CartError, Misconfigured, Refused, StoreAway
from proxy.facts import Asked, CancelAsked, HurryAsked, ReplayAsked
from proxy.settings import SENDER, WEB, Judge, Settings, described, names
from proxy.snippet import Snippet, consent_tools
from proxy.standing import Standing
from proxy.store import Inbox
from proxy.tokens import SHORTEST_KEY, Session, Tokens

if TYPE_CHECKING:
    from proxy.alarms import RaisedAlarm
    from proxy.steps import Answer
    from proxy.store.book import Book
    from proxy.store.reader import DeadLetter

logger = logging.getLogger(__name__)

A = TypeVar("A", bound=Asked)


class _Commands(click.Group):
    """Commands whose own errors come out as words and an exit status, not as a traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except Misconfigured as error:
            words = "\n  ".join(["the settings cannot work:", *error.mistakes])
            raise click.ClickException(words) from error
        except Refused as error:
            raise click.ClickException(error.detail) from error
        except StoreAway as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="checkout-proxy")
def main() -> None:
    """A shop's own server-side sender of Klaviyo's Started Checkout.

    Settings come from environment variables, and of several shops from a file: see
    `checkout-proxy settings`.
    """
    # A command says what it finds; those that run for long set up a log of their own.
    logging.getLogger("proxy").addHandler(logging.NullHandler())


def _judge(carts: str, described: Mapping[str, Any], key: str) -> Collection[str]:
    """Return what is wrong with a source of carts, for those who are going to ask it."""
    from proxy.carts.described import mistakes

    return mistakes(carts, described, key)


# -- running it --------------------------------------------------------------------------


@main.command()
@click.option("--bind", default="127.0.0.1:8000", show_default=True, help="IP address and port.")
@click.option("--workers", default=2, show_default=True, help="Web worker processes.")
@click.option("--web-only", is_flag=True, help="Leave the sender to `checkout-proxy work`.")
def serve(bind: str, workers: int, web_only: bool) -> None:
    """Run the web half and the sender."""
    # Here and below: no command waits for the imports of another, nor does a web worker.
    from proxy import server

    host, port = _address(bind)
    _check_folder()
    logs.configure()
    read = _reading(WEB) if web_only else _reading(WEB + SENDER, judge=_judge)
    server.serve(read, host=host, port=port, workers=workers, web_only=web_only)


def _check_folder() -> None:
    """Fail where the processes that are started here could not enter the folder they start in."""
    try:
        os.chdir(os.getcwd())  # noqa: PTH109 - Path.cwd() is the same, and this says what is meant
    except OSError as error:
        words = f"cannot be started here: {error.strerror}. Start it from another folder, say /."
        raise click.ClickException(words) from error


def _reading(need: tuple[str, ...], judge: Judge | None = None) -> shops.Read:
    """Return what reads the settings, now and when they are to be read again."""

    def read() -> tuple[Settings, ...]:
        served = shops.read(os.environ, need=need, judge=judge)
        _warn_of_short_keys(served)
        return served

    return read


def _address(bind: str) -> tuple[str, int]:
    host, _, port = bind.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
        if not 0 < int(port) < 2**16:
            raise ValueError(port)
    except ValueError as error:
        words = f"{bind!r} is no IP address and port, such as 127.0.0.1:8000 or [::1]:8000."
        raise click.BadParameter(words, param_hint="--bind") from error
    return str(address), int(port)


def _warn_of_short_keys(served: Sequence[Settings]) -> None:
    if any(len(key) < SHORTEST_KEY for settings in served for key in settings.token_keys or ()):
        logger.warning(
            "a key of CHECKOUT_PROXY_TOKEN_KEYS has fewer than %d characters: it can be guessed, "
            "and carts be forged; `openssl rand -hex 32` makes a good one",
            SHORTEST_KEY,
        )


@main.command()
def work() -> None:
    """Run the sender alone."""
    from proxy import work

    logs.configure()
    work.work_alone(_reading(SENDER, judge=_judge))


@main.command()
def migrate() -> None:
    """Bring the store's tables up to date (the sender does so when it starts)."""
    found = [shops.store(settings) for settings in shops.read(os.environ)]
    stores = {store.place: store for store in found}
    with _progress("Stores", len(stores)) as done:
        for store in stores.values():
            store.migrate()
            done(1)
    for place in stores:
        click.echo(f"{place} is up to date.")


@main.command()
@click.option("--port", default=8080, show_default=True, help="Where the demo shop is served.")
def demo(port: int) -> None:
    """Run a demo shop, the proxy, the sender and a stand-in Klaviyo."""
    from proxy import demo

    demo.run(port)


# -- setting it up -----------------------------------------------------------------------


@main.command()
def settings() -> None:
    """Print every setting with its meaning and its default."""
    for variable, default, meaning in described():
        click.echo(f"{click.style(variable, bold=True)}{f' = {default}' if default else ''}")
        click.echo(click.wrap_text(meaning, 78, "    ", "    "))
    click.echo(f"\nIn the file, [shops.NAME] may have, instead of the variables ({DOCS}):")
    click.echo(click.wrap_text(", ".join(sorted(names().members)), 78, "    ", "    "))


DOCS = "docs/many-shops.md"


# -- of which shop -----------------------------------------------------------------------


_of_shop = click.option("--shop", "name", help="The shop's name, where there are several.")


def _one(name: str | None, *, need: tuple[str, ...] = (), judge: Judge | None = None) -> Settings:
    """Return the settings of the shop *name*, or of the only one."""
    known = shops.read(os.environ, need=need, judge=judge)
    found = [settings for settings in known if name in (None, settings.shop)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(settings.shop for settings in known)
    if name is None:
        raise click.UsageError(f"Which of the shops {listed}? Say it with --shop.")
    raise click.UsageError(f"There is no shop {name}: there is {listed}.")


# -- trying it out -----------------------------------------------------------------------


@main.command()
@click.argument("cart_id")
@_of_shop
@click.option("--email", help="The customer's address.")
@click.option("--phone-number", help="The customer's telephone number, in E.164.")
@click.option("--external-id", help="The customer's id in the shop.")
@click.option("--first-name")
@click.option("--last-name")
@click.option("--ref", help="The credential that reads the cart. The shopper can see it.")
def token(cart_id: str, name: str | None, ref: str | None, **customer: str | None) -> None:
    """Print a session token for CART_ID, for trying things out."""
    settings = _one(name, need=("token_keys",))
    tokens = Tokens(settings.token_keys, shop=settings.shop, max_age=settings.token_age)
    known = {name: value for name, value in customer.items() if value}
    said = {"shop": settings.shop, "cart_id": cart_id, "customer": known or None, "ref": ref}
    try:
        session = msgspec.convert(said, Session)
    except msgspec.ValidationError as error:
        raise click.UsageError(str(error)) from error
    click.echo(tokens.sign(session))


@main.command()
@click.argument("token", default="{{ token }}")
@click.option("--base", help="Where pages reach the proxy, if not on their own host: https://…/co")
@click.option("--consent", help="What holds until the page says otherwise: required, say.")
@click.option("--email-field", help="CSS selector, where the usual fields are not meant.")
@click.option("--phone-number-field", help="CSS selector, likewise.")
@click.option("--consent-tool", type=click.Choice(consent_tools()), help="Whose answer counts.")
@click.option("--nonce", help="That of your content security policy, or its place: {{ nonce }}")
@click.option("--debug", is_flag=True, help="Tell the browser's console what happens.")
def tag(
    token: str,
    base: str | None,
    consent_tool: str | None,
    nonce: str | None,
    *,
    debug: bool,
    **data: str | None,
) -> None:
    """Print the tag for the shop's pages, with TOKEN or a place for it in your template.

    It names the snippet of this very version, with its integrity hash: print it again after an
    upgrade.
    """
    base = base or shops.read(os.environ)[0].prefix
    data = {"token": token, "debug": "" if debug else None} | data
    click.echo(Snippet.shipped().tag(base, nonce=nonce, **data))
    if consent_tool:
        click.echo(Snippet.shipped(f"consent-{consent_tool}").tag(base, nonce=nonce))


@main.command()
@click.argument("cart_id")
@_of_shop
@click.option("--ref", help="The credential that the token would carry.")
@click.option("--json", "as_json", is_flag=True, help="As PUT /v1/carts would have it.")
def cart(cart_id: str, name: str | None, ref: str | None, *, as_json: bool) -> None:
    """Read CART_ID where the totals come from, and print it as it is understood."""
    from proxy import work

    settings = _one(name, need=_CARTS, judge=_judge)
    if settings.carts == "signed":
        raise click.UsageError("CHECKOUT_PROXY_CARTS=signed: the cart is in the token itself.")
    pushed = _pushed(settings, cart_id) if settings.carts == "push" else None
    asked = CartRef(shop=settings.shop, cart_id=cart_id, credential=ref, pushed=pushed)
    try:
        with work.source(settings) as carts:
            reading = carts.fetch(asked)
    except CartError as error:
        raise click.ClickException(f"{type(error).__name__}: {error}") from error
    click.echo(shown.as_json(cart_id, reading) if as_json else "\n".join(shown.in_words(reading)))


@main.command()
@_of_shop
@click.option("--token", "text", help="As a page has it in data-token; - reads standard input.")
@click.option("--state", type=click.File("rb"), help="The JSON that a page posts; - likewise.")
@click.option("--origin", default="", help="Of the page that posts the state: https://…")
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def qa(
    name: str | None, text: str | None, state: IO[bytes] | None, origin: str, *, as_json: bool
) -> None:
    """Try a token, or a state with its token, and say what each step makes of it.

    Nothing is sent and nothing is kept. The exit status is 1 where something stops it. docs/qa.md
    explains each step.
    """
    from proxy import qa

    if (text is None) == (state is None):
        raise click.UsageError("Give --token or --state.")
    if state is None:
        settings = _one(name, need=("token_keys",))
        said = sys.stdin.read() if text == "-" else text or ""
        _say_answer(qa.token(settings, said), as_json=as_json)
    else:
        settings = _one(name, need=("token_keys", *_CARTS), judge=_judge)
        _say_answer(qa.state(settings, state.read(), origin), as_json=as_json)


@main.command()
@click.argument("cart_id")
@_of_shop
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def preview(cart_id: str, name: str | None, *, as_json: bool) -> None:
    """Say what would be sent now of CART_ID's last checkout, or an event's id, and send nothing.

    The exit status is 1 where something stops it.
    """
    from proxy import qa

    settings = _one(name, need=_CARTS, judge=_judge)
    with _book(settings):
        answer = qa.checkout(settings, cart_id)
    if answer is None:
        raise click.ClickException(f"nothing was received for the cart {cart_id}")
    _say_answer(answer, as_json=as_json)


_CARTS = ("carts_url", "carts_key", "carts_token_url")


def _say_answer(answer: "Answer", *, as_json: bool) -> None:
    from proxy import qa

    click.echo(qa.as_json(answer) if as_json else "\n".join(qa.in_words(answer)))
    if answer.stopped_by is not None:
        raise SystemExit(1)


@main.command()
@_of_shop
@click.option("--url", help="Where pages reach the proxy: https://shop.example.com")
@click.option("--origin", "origins", multiple=True, help="Of a page that is to post, beside yours.")
@click.option("--token", help="One that your shop's server signed, to be judged.")
@click.option("--cart", "cart_id", help="A cart that is open now, to be read.")
@click.option("--ref", help="The credential that the token would carry for it.")
@click.option(
    "--send-test",
    "address",
    metavar="ADDRESS",
    help="Send one Started Checkout about this address, which starts flows as any other does.",
)
@click.option("--only", multiple=True, metavar="CHECK", help="Examine this alone.")
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def doctor(name: str | None, only: tuple[str, ...], *, as_json: bool, **asked: Any) -> None:
    """Examine the whole set-up: what is well, what is wrong, and what to do.

    Nothing is changed, and nothing is sent but by --send-test. The exit status is 1 where
    something is wrong. docs/doctor.md explains each check.
    """
    from proxy.doctor import examination, report, setup

    if unknown := set(only) - set(examination.names()):
        words = f"{', '.join(sorted(unknown))}: there are {', '.join(examination.names())}."
        raise click.BadParameter(words, param_hint="--only")
    try:
        setups = setup.read(os.environ, setup.Asked(shop=name, **asked), _judge)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    found = []
    for examined in examination.examine(setups, only):
        found.append(examined)
        if not as_json:
            click.echo("\n".join(report.section(examined, of_several=len(setups) > 1)))
    click.echo(report.as_json(found) if as_json else f"\n{report.summary(found)}")
    if report.is_wrong(found):
        raise SystemExit(1)


def _pushed(settings: Settings, cart_id: str) -> Cart | None:
    with _book(settings) as book:
        return book.cart(settings.shop, cart_id)


# -- looking, and mending ----------------------------------------------------------------


@main.command()
@_of_shop
def status(name: str | None) -> None:
    """Say how many checkouts stand where, what is stuck, and whether sending is held up."""
    known = shops.read(os.environ) if name is None else [_one(name)]
    for number, settings in enumerate(known):
        if len(known) > 1:
            click.secho("\n" * bool(number) + settings.shop, bold=True)
        try:
            _say_status(settings)
        except click.ClickException as error:
            if len(known) == 1:
                raise
            # A shop that was added just now has no store yet, and hides no other.
            click.echo(error.message)


def _say_status(settings: Settings) -> None:
    with _book(settings) as book:
        for standing, count in book.counts(settings.shop).items():
            click.echo(f"{standing:<12} {count:>8}")
        _say_claims(book.claims(settings.shop))
        _say_alarms(book.alarms(settings.shop))
        if not _say_if_held(book.standing(settings.shop)):
            _say_oldest(book.oldest_due(settings.shop))
    if damaged := shops.store(settings).damaged:
        listed = ", ".join(path.name for path in damaged)
        words = f"{len(damaged)} set aside as damaged, see the log, then delete: {listed}"
        click.secho(words, fg="yellow")


def _say_claims(claims: dict[Compared, int]) -> None:
    """Say how the pages' totals stood to the shop's, where a page has said any."""
    if sum(claims.values()) > claims[Compared.ABSENT]:
        counted = ", ".join(f"{claim} {count}" for claim, count in claims.items())
        click.echo(f"totals that pages said, beside the shop's: {counted}")


def _say_alarms(alarms: "list[RaisedAlarm]") -> None:
    """Say which alarms stand, and what to do."""
    for alarm in alarms:
        if alarm.cleared_at is None:
            since = _time(alarm.raised_at)
            click.secho(f"alarm since {since}: {alarm.name}: {alarm.words}", fg="red")
            click.echo(click.wrap_text(alarm.remedy, 78, "  ", "  "))


def _say_if_held(standing: Standing) -> bool:
    """Say why nothing is sent just now; return whether that is so."""
    if standing.paused_until is None or not standing.waits(datetime.now(UTC)):
        return False
    click.secho(
        f"sending waits until {_time(standing.paused_until)}: {standing.reason}", fg="yellow"
    )
    if standing.stopped:
        click.echo("  Is CHECKOUT_PROXY_KLAVIYO_KEY right, with the scope events:write?")
    return True


def _say_oldest(due_at: datetime | None) -> None:
    if due_at is None:
        click.echo("Nothing is due.")
    elif due_at > datetime.now(UTC):
        click.echo(f"The next is due at {_time(due_at)}.")
    else:
        click.echo(f"The oldest has been due since {_time(due_at)}: is the sender at work?")


@main.command()
@click.argument("cart_id")
@_of_shop
@click.option("--event", "shows_events", is_flag=True, help="What Klaviyo took, too, as JSON.")
def trace(cart_id: str, name: str | None, *, shows_events: bool) -> None:
    """Tell the whole story of CART_ID: what came in, what was decided, what was tried.

    An event's id, under which Klaviyo shows it, does as well.
    """
    settings = _one(name)
    with _book(settings) as book:
        known = book.checkout(settings.shop, cart_id)
        told = story.tell(book, settings.shop, known.cart_id if known else cart_id)
        events = [book.event(each.shop, each.cart_id, each.epoch) for each in told.checkouts]
    if not told.lines:
        raise click.ClickException(f"nothing was received for the cart {cart_id}")
    for line in told.lines:
        click.echo(f"{_time(line.at)}  {line.what:<16}  {line.words}")
    for checkout, event in zip(told.checkouts, events, strict=True):
        click.echo()
        click.secho(checkout.unique_id, bold=True)
        click.echo(f"  {story.headline(checkout)}")
        if shows_events and event is not None:
            click.echo(msgspec.json.format(event, indent=2).decode())
    if any(checkout.status is Status.PENDING for checkout in told.checkouts):
        _say_if_held(told.standing)


@main.command()
@_of_shop
@click.option("--reason", help="Only those whose reason contains this.")
def dead(name: str | None, reason: str | None) -> None:
    """List the dead letters, by reason: what was given up, and why."""
    counts: Counter[str] = Counter()
    shown: dict[str, list[str]] = {}
    settings = _one(name)
    with _book(settings) as book:
        for letter in book.dead(settings.shop, reason=reason):
            counts[letter.reason] += 1
            if counts[letter.reason] <= _SHOWN:
                shown.setdefault(letter.reason, []).append(public_id(letter.cart_id))
    for words, count in counts.most_common():
        more = count - len(shown[words])
        cart_ids = " ".join(shown[words]) + (f" and {more} more" if more else "")
        click.echo(f"{count:>6}  {words}")
        click.echo(click.wrap_text(cart_ids, 78, " " * 8, " " * 8))
        click.echo(click.wrap_text(f"To do: {advice.about(words)}", 78, " " * 8, " " * 8))
    if not counts:
        click.echo("No dead letters.")


_SHOWN = 20


@main.command()
@click.argument("cart_id", required=False)
@_of_shop
@click.option("--reason", help="All dead letters whose reason contains this.")
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
def replay(cart_id: str | None, name: str | None, reason: str | None, everything: bool) -> None:
    """Send dead letters again: of CART_ID, by reason, or all. They keep their unique id."""
    if sum([cart_id is not None, reason is not None, everything]) != 1:
        raise click.UsageError("Name a CART_ID, or give --reason, or --all.")
    settings = _one(name)
    with _book(settings) as book, closing(shops.store(settings).inbox()) as inbox:
        dead = book.dead(settings.shop, reason=reason, cart_id=cart_id)
        asked = (_replay(settings.shop, letter) for letter in dead)
        many = book.counts(settings.shop).get(Status.DEAD, 0)
        # Of some by their reason it is not known how many there are.
        with _progress("Dead letters", many if everything else 0) as done:
            count = _ask_for_replay(inbox, asked, done)
    if cart_id is not None and not count:
        raise click.ClickException(f"no dead letter of {cart_id}: see `checkout-proxy trace`")
    click.echo(f"{count} dead letter{'' if count == 1 else 's'} will be sent again.")


@main.command()
@click.argument("cart_id")
@_of_shop
def hurry(cart_id: str, name: str | None) -> None:
    """Send what is pending of CART_ID now, and do not wait until it is due."""
    _wish(name, cart_id, HurryAsked, (Status.PENDING,))
    click.echo("It is to be sent now; see `checkout-proxy trace`.")


@main.command()
@click.argument("cart_id")
@_of_shop
def cancel(cart_id: str, name: str | None) -> None:
    """Do not send CART_ID, whatever the shopper goes on to say; a later visit is another matter."""
    _wish(name, cart_id, CancelAsked, (Status.PENDING, Status.DEAD, Status.QUARANTINED))
    click.echo("It is not to be sent.")


def _wish(name: str | None, cart_id: str, kind: type[Asked], statuses: Collection[Status]) -> None:
    """Write down what is wished of a cart's last checkout, if that stands at one of *statuses*."""
    settings = _one(name)
    with _book(settings) as book:
        last = book.checkouts(settings.shop, cart_id)[-1:]
    if not last or last[0].status not in statuses:
        stands = story.headline(last[0]) if last else "nothing was received for it"
        raise click.ClickException(f"{cart_id} cannot be helped so: {stands}")
    with closing(shops.store(settings).inbox()) as inbox:
        inbox.append(_asked(kind, last[0].shop, cart_id, last[0].epoch))


def _asked(kind: type[A], shop: str, cart_id: str, epoch: datetime) -> A:
    at = datetime.now(UTC)
    return kind(id=uuid4().hex, shop=shop, cart_id=cart_id, received_at=at, epoch=epoch)


def _ask_for_replay(
    inbox: Inbox, asked: Iterator[ReplayAsked], done: Callable[[int], object]
) -> int:
    """Write the wishes down as facts, like everything the sender acts on; return how many."""
    count = 0
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        # Together, for they share the disk's syncs; and never all of a million at once.
        while some := list(islice(asked, _AT_ONCE)):
            count += len(list(threads.map(inbox.append, some)))
            done(len(some))
    return count


def _replay(shop: str, letter: "DeadLetter") -> ReplayAsked:
    return _asked(ReplayAsked, shop, letter.cart_id, letter.epoch)


_AT_ONCE = 64


@contextmanager
def _progress(label: str, length: int) -> Iterator[Callable[[int], object]]:
    """Give what counts how many of *length* are done, for somebody who waits at a terminal."""
    if not (length and sys.stderr.isatty()):
        yield lambda _: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield bar.update


@contextmanager
def _book(settings: Settings) -> Iterator["Book"]:
    store = shops.store(settings)
    if not store.exists:
        raise click.ClickException(
            f"there is no store at {store.place} yet: "
            "has a sender run there, and is CHECKOUT_PROXY_STORE the same here?"
        )
    with closing(store.book()) as book:
        yield book


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
