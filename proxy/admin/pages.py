"""Pages: the operator's pages put together."""

from flask import Blueprint

from proxy import assets
from proxy.admin import asking, entrance, looking, qa
from proxy.admin.signin import PATH
from proxy.admin.surface import Surface


def blueprint(surface: Surface) -> Blueprint:
    """Return the operator's pages."""
    templates = assets.folder("templates")
    routes = Blueprint("admin", __name__, url_prefix=PATH, template_folder=f"{templates}")
    entrance.register(routes, surface)
    looking.register(routes, surface)
    asking.register(routes, surface)
    qa.register(routes, surface)
    return routes
