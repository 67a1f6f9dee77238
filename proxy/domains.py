"""Domains: what the part of an address behind the @ says against it."""

from collections.abc import Callable

from disposable_email_domains import blocklist

from proxy.identity import Profile


def suspicion_of(profile: Profile, is_deliverable: Callable[[str], bool] | None) -> str:
    """Return why no event goes to *profile*; nothing where its address's domain is a usual one.

    *is_deliverable* is asked last, about the domain, where anybody is.
    """
    domain = (profile.email or "").rpartition("@")[2].casefold()
    if profile.is_reserved:
        return "the address is of a domain kept for examples, which Klaviyo drops"
    if _is_disposable(domain):
        return "the address is of a domain for addresses that are thrown away"
    if domain and is_deliverable is not None and not is_deliverable(domain):
        return "the address is of a domain that takes no mail"
    return ""


def _is_disposable(domain: str) -> bool:
    """Tell whether *domain* is one that is listed, or under one."""
    labels = domain.split(".")
    return any(".".join(labels[start:]) in blocklist for start in range(len(labels) - 1))
