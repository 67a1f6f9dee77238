"""Looking: overview, checkouts, one of them, dead letters, and quarantine."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from flask import Blueprint, abort, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from proxy import advice, story
from proxy.admin import charts, questions, shown
from proxy.admin.charts import Bar
from proxy.admin.overview import PERIODS, SERIES, Figures, Period, verdict
from proxy.admin.surface import Surface, checkout
from proxy.checkouts import Checkout, Status
from proxy.standing import Standing
from proxy.tallies import What

if TYPE_CHECKING:
    from proxy.store.reader import Found, Place, Reader

_A_PAGE = 50
_A_STORY = 200


def register(routes: Blueprint, surface: Surface) -> None:
    """Let *routes* show what there is to see."""

    @routes.get("/")
    def home() -> ResponseReturnValue:
        return redirect(url_for("admin.overview", shop=next(iter(surface.shops))), 303)

    @routes.get("/<path:_>")
    def nothing(_: str) -> str:
        abort(404, "There is no such page.")

    @routes.get("/<shop>/")
    def overview(shop: str) -> str:
        period = PERIODS.get(request.args.get("period", ""), PERIODS["day"])
        with surface.shop(shop).reader() as reader:
            said = _overview(reader, shop, period)
        return render_template("admin/overview.html", shop=shop, of=surface.shop(shop), **said)

    @routes.get("/<shop>/checkouts")
    def checkouts(shop: str) -> str:
        with surface.shop(shop).reader() as reader:
            return render_template("admin/checkouts.html", shop=shop, **_listed(reader, shop))

    @routes.get("/<shop>/checkouts/<path:unique_id>", endpoint="checkout")
    def one(shop: str, unique_id: str) -> str:
        with surface.shop(shop).reader() as reader:
            found = checkout(reader, shop, unique_id)
            return render_template("admin/checkout.html", shop=shop, **_told(reader, found))

    _ended(routes, surface)


def _ended(routes: Blueprint, surface: Surface) -> None:
    @routes.get("/<shop>/dead")
    def dead(shop: str) -> str:
        with surface.shop(shop).reader() as reader:
            groups = [
                {"reason": reason, "count": count, "advice": advice.about(reason)}
                for reason, count in reader.by_reason(shop, Status.DEAD)
            ]
        asked = request.args.get("asked", type=int)
        return render_template("admin/dead.html", shop=shop, groups=groups, asked=asked)

    @routes.get("/<shop>/quarantine")
    def quarantine(shop: str) -> str:
        with surface.shop(shop).reader() as reader:
            groups = reader.by_reason(shop, Status.QUARANTINED)
        asked = request.args.get("asked", type=int)
        return render_template("admin/quarantine.html", shop=shop, groups=groups, asked=asked)


def _overview(reader: "Reader", shop: str, period: Period) -> dict[str, object]:
    since, until = period.since(g.now), g.now + timedelta(minutes=1)
    counted = reader.tallied(shop, since=since, until=until, by_minute=SERIES)
    figures = Figures(counted, period, g.now)
    counts = reader.counts(shop)
    standing = reader.standing(shop)
    alarms = reader.alarms(shop)
    standing_alarms = [alarm for alarm in alarms if alarm.cleared_at is None]
    return {
        "verdict": verdict(figures, standing, standing_alarms, reader.seen_at(shop), g.now),
        "alarms": standing_alarms,
        "cleared": [alarm for alarm in alarms if alarm.cleared_at is not None],
        "sending": _sending(standing),
        "values": [(of.currency, shown.amount(of)) for of in figures.values()],
        "claims": [(what.capitalize(), f"{n:,}") for what, n in figures.by_detail(What.CLAIM)],
        "refused": [(shown.refusal(code), f"{n:,}") for code, n in figures.by_detail(What.REFUSED)],
        "figures": figures,
        "period": period,
        "periods": PERIODS,
        "What": What,
        "Status": Status,
        "counts": counts,
        "charts": _charts(figures, counts[Status.PENDING]),
    }


def _sending(standing: Standing) -> str:
    if not standing.waits(g.now):
        return "goes on"
    return "Klaviyo refuses the key" if standing.stopped else "pauses"


def _charts(figures: Figures, waiting: int) -> list[dict[str, object]]:
    drawn = (
        ("Accepted", "facts that came in", figures.series(What.RECEIVED), "came"),
        ("Delivered", "checkouts that Klaviyo took", figures.series(What.DELIVERED), "good"),
        ("Waiting", "checkouts still to be sent", figures.waiting(waiting), "waits"),
        ("Dead", "checkouts that were given up", figures.series(What.DEAD), "bad"),
    )
    return [_chart(figures, *each) for each in drawn]


def _chart(
    figures: Figures, title: str, words: str, series: Sequence[int], kind: str
) -> dict[str, object]:
    steps = zip(figures.starts(), series, strict=True)
    drawn = [Bar(amount=amount, label=f"{start:%a %H:%M}") for start, amount in steps]
    is_level = kind == "waits"
    total = series[-1] if is_level else sum(series)
    said = f"{title}: {total:,}, at most {max(series):,}"
    said += "" if is_level else f" in {shown.span(figures.period.step)}"
    return {
        "title": title,
        "words": words,
        "total": total,
        "most": max(series),
        "is_level": is_level,
        "image": charts.bars(said, drawn, kind),
    }


def _listed(reader: "Reader", shop: str) -> dict[str, object]:
    from proxy.store.reader import Wanted

    status = request.args.get("status", "")
    address = request.args.get("address")
    wanted = Wanted(
        status=Status(status) if status in list(Status) else None,
        cart_id=request.args.get("cart"),
        address_hashes=address.split(",") if address else None,
        after=_place(reader, shop, request.args.get("after", "")),
    )
    found = reader.search(shop, wanted, _A_PAGE + 1)
    following = _words(found[_A_PAGE - 1]) if len(found) > _A_PAGE else None
    return {
        "found": found[:_A_PAGE],
        "following": following,
        "statuses": list(Status),
        "wanted": wanted,
        "is_narrow": wanted.cart_id is not None or wanted.address_hashes is not None,
        "counts": reader.counts(shop),
    }


def _words(last: "Found") -> str:
    """Return the place after *last* without its cart's id, which may have a secret in it."""
    return f"{last.acted_at.isoformat()} {last.unique_id}"


def _place(reader: "Reader", shop: str, words: str) -> "Place | None":
    from proxy.store.reader import Place

    at, _, unique_id = words.partition(" ")
    try:
        acted_at = datetime.fromisoformat(at)
    except ValueError:
        return None
    found = reader.checkout(shop, unique_id)
    # Where it was removed since, the list goes on with what is older.
    return Place(acted_at, found.cart_id, found.epoch) if found else Place(acted_at, "", acted_at)


_ASKED = {
    "hurry": "It is to be sent now. The sender takes it up within a moment.",
    "cancel": "It is not to be sent.",
    "replay": "It is to be sent again. The sender takes it up within a moment.",
    "erase": "All that is kept about this person is to be erased. The sender does so in a moment.",
    "release": "It is believed, and sent where nothing else forbids it. The sender takes it up "
    "within a moment.",
}


def _told(reader: "Reader", checkout: Checkout) -> dict[str, object]:
    event = reader.event(checkout.shop, checkout.cart_id, checkout.epoch)
    told = story.tell(reader, checkout.shop, checkout.cart_id, _A_STORY)
    return {
        "checkout": checkout,
        "story": told,
        "event": None if event is None else msgspec.json.format(event, indent=2).decode(),
        "asked_now": questions.shown(reader, checkout.shop),
        "person": shown.person(checkout),
        "consent": story.consent(checkout),
        "asked": _ASKED.get(request.args.get("asked", "")),
        "advice": advice.about(checkout.reason) if checkout.status is Status.DEAD else None,
        "Status": Status,
    }
