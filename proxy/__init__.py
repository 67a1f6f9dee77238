"""checkout-proxy: a shop's own server-side sender of Klaviyo's Started Checkout.

    browser        static/src/ → collect        ┐
    shop's server  sessions, carts, orders      ├→ inbox → delivery → cart → payload → Klaviyo
    operator       replay                       ┘

The web half (``app``, ``collect``, ``shop``, ``health``) appends facts and decides nothing.
The delivery half (``delivery``, ``checkouts``, ``payload``, ``klaviyo``) decides from the facts
alone. The two meet in ``store`` and nowhere else.
"""
