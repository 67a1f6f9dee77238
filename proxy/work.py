"""Work: the senders put together, one for each shop, whose account it holds until it is done."""

import gc
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

from proxy import identity, personkey, shops
from proxy.audit import Audit
from proxy.carts import described
from proxy.carts.http import HttpCarts
from proxy.carts.pushed import PushedCarts
from proxy.carts.signed import SignedCarts
from proxy.carts.source import CartSource
from proxy.carts.sql import Queries, SqlCarts
from proxy.checkouts import Rules
from proxy.consents import ConsentMode, Modes
from proxy.delivery import Sender
from proxy.enrich import Account
from proxy.errors import AccountLost, StoreAway, StoreSealed
from proxy.klaviyo import Klaviyo
from proxy.payload import PropertyNames
from proxy.settings import Settings
from proxy.standing import Standing
from proxy.stopping import SENDER_STOP_SECONDS, end_by_force, on_signals
from proxy.store import Store
from proxy.store.book import Book
from proxy.watch import Watch
from proxy.webhook import Webhook

logger = logging.getLogger(__name__)

_OBJECTS_BETWEEN_COLLECTIONS = 20_000
_RESTART_SECONDS = 1.0
_SEALED_SECONDS = 5.0


def work(served: Sequence[Settings], stop: threading.Event) -> None:
    """Send for each shop until *stop* is set, in a thread of its own: none waits for another."""
    # Thousands of objects are made for a batch, and few of them in a cycle: to look for cycles as
    # often as Python does by itself took a sixth of the sender's time.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    shops.prepare(served)
    threads = [
        threading.Thread(target=_go_on, args=(settings, stop), name=settings.shop)
        for settings in served
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _go_on(settings: Settings, stop: threading.Event) -> None:
    """Work for one shop, and begin again after what nobody foresaw: the others go on meanwhile."""
    while not stop.is_set():
        try:
            _work(settings, stop)
        except Exception:
            logger.exception("the sender of %s failed; it begins again", settings.shop)
            stop.wait(_RESTART_SECONDS)


def _work(settings: Settings, stop: threading.Event) -> None:
    """Send until *stop* is set. Where another sender is at work, wait until it is gone."""
    store = shops.store(settings)
    was_away = False
    said = ""
    while not stop.is_set():
        try:
            with store.account(settings.shop, stop, was_away=was_away) as book:
                if book is not None:
                    _send(settings, store, book, stop)
        except StoreSealed as error:
            if said != (said := str(error)):  # once, and not at every try
                logger.error("%s: %s; nothing is sent before it is there", settings.shop, error)
            stop.wait(_SEALED_SECONDS)
        except (AccountLost, StoreAway) as error:
            logger.error("%s; nothing is sent before the account is had again", error)
            was_away = True


def work_alone(read: shops.Read) -> None:
    """Work under the settings that *read* returns until told to stop; read again when told to.

    By force, where a store that hangs holds it up.
    """
    over, round_over = threading.Event(), threading.Event()
    served = read()

    def reload() -> None:
        nonlocal served
        if (now := shops.read_again(read, served)) is not None:
            served = now
            round_over.set()

    on_signals(over.set, round_over.set, reload=reload)
    end_by_force(over, SENDER_STOP_SECONDS)
    while not over.is_set():
        work(served, round_over)
        # Whoever sets it anew has set the other, or other settings, before.
        round_over.clear()


def _send(settings: Settings, store: Store, book: Book, stop: threading.Event) -> None:
    klaviyo = _klaviyo(settings)
    with (
        _noting_what_is_sealed(settings.shop, book),
        closing(store.inboxes(settings.shop)) as inboxes,
        source(settings) as carts,
    ):
        keys = personkey.kept(book, settings.shop, locking_keys(settings))
        sender = Sender(
            account(settings, keys),
            inboxes=inboxes,
            book=book,
            source=carts,
            klaviyo=klaviyo,
            watch=_watch(settings, store, book, klaviyo),
            now=lambda: datetime.now(UTC),
        )
        logger.info(
            "the sender is at work on %s for the shop %s and sends to %s",
            store.place,
            settings.shop,
            settings.klaviyo_url,
        )
        with closing(sender):
            sender.run(stop)
        logger.info("the sender of %s has stopped", settings.shop)


@contextmanager
def _noting_what_is_sealed(shop: str, book: Book) -> Iterator[None]:
    """Write down, for `status` and the pages, that what cannot be opened holds up all sending."""
    try:
        yield
    except StoreSealed as error:
        now = datetime.now(UTC)
        until = now + timedelta(seconds=_SEALED_SECONDS)
        book.set_standing(shop, Standing(paused_at=now, paused_until=until, reason=str(error)))
        raise


# -- from settings to values -------------------------------------------------------------


def account(settings: Settings, person_keys: Sequence[bytes] = ()) -> Account:
    """Return how the checkouts of a shop are judged and how its events look.

    Addresses are hashed with the last of *person_keys*, and found by all of them; without any,
    with what the newest token key gives.
    """
    of_tokens = tuple(map(identity.address_key, _secrets(settings)))
    return Account(
        shop=settings.shop,
        rules=Rules(
            settle=settings.settle,
            epoch=settings.epoch,
            modes=Modes(
                ConsentMode(settings.consent),
                {region: ConsentMode(mode) for region, mode in settings.consent_regions},
            ),
            address_key=(
                person_keys[-1]
                if person_keys
                else identity.address_key((settings.token_keys or ("",))[-1])
            ),
        ),
        # Earlier versions hashed with what token keys give.
        person_keys=(*of_tokens, *person_keys),
        late=settings.late,
        keep=settings.keep,
        metric=settings.metric,
        property_names=PropertyNames(settings.property_names),
        crowd=settings.most_checkouts,
        is_deliverable=_name_servers(settings.dns),
    )


def _name_servers(setting: str) -> Callable[[str], bool] | None:
    """Return what tells whether a domain takes mail, where somebody is to be asked."""
    if setting == "off":
        return None
    # Not above: an eighth of a start goes into it, and not everybody asks.
    from proxy import deliverability

    return deliverability.asked(setting)


def _secrets(settings: Settings) -> tuple[str, ...]:
    """Return the secrets that who was erased is known under; a sender may do without the first."""
    return settings.token_keys or (settings.klaviyo_key or "checkout-proxy",)


def locking_keys(settings: Settings) -> tuple[bytes, ...]:
    """Return what the person keys lie under: one of these is left when another is changed."""
    known = dict.fromkeys([*_secrets(settings), *filter(None, [settings.klaviyo_key])])
    return tuple(map(personkey.lock_key, known))


@contextmanager
def source(settings: Settings) -> Iterator[CartSource]:
    """Give where the totals come from; its connections are closed at the end."""
    match settings.carts:
        case "push":
            yield PushedCarts()
        case "signed":
            yield SignedCarts()
        case _:
            with closing(_asked(settings)) as carts:
                yield carts


def _asked(settings: Settings) -> HttpCarts | SqlCarts:
    recipe = described.read(settings.carts, settings.described)
    if isinstance(recipe, Queries):
        return SqlCarts(recipe, settings.carts_key)
    return HttpCarts(
        recipe,
        url=settings.carts_url or "",
        key=settings.carts_key or "",
        token_url=settings.carts_token_url or "",
        ca_file=settings.carts_ca,
    )


def _watch(settings: Settings, store: Store, book: Book, klaviyo: Klaviyo) -> Watch:
    url, key = settings.alarm_url, settings.alarm_key
    return Watch(
        settings.shop,
        book,
        folder=store.folder,
        revision=settings.revision,
        flat_after=settings.flat_after,
        webhook=Webhook(url, key) if url and key else None,
        audit=Audit(klaviyo, book, settings.shop) if settings.audit == "on" else None,
    )


def _klaviyo(settings: Settings) -> Klaviyo:
    return Klaviyo(url=settings.klaviyo_url, key=settings.klaviyo_key, revision=settings.revision)
