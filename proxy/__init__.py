"""checkout-proxy: a shop's own server-side sender of Klaviyo's Started Checkout.

    browser        static/src/ → collect              ┐
    shop's server  sessions, carts, orders, erasures  ├→ inbox → delivery → cart → payload → Klaviyo
    operator       replays, erasures, questions       ┘             ↓
                   pages, command line, metrics       ←  reader  ← book

The web half (``app``, ``collect``, ``shop``, ``admin``, ``health``) appends facts and decides
nothing. The delivery half (``delivery``) decides from the facts alone: it folds them into
checkouts (``visits``, ``consents``, ``checkouts``, ``erasures``), keeps back what is not believed
(``crowds``, ``domains``), sends the rest (``enrich``, ``outbox``, ``klaviyo``), and removes what
is too old (``sweep``). The two meet in ``store``, which may be sealed, and nowhere else.
"""
