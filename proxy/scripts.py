"""Scripts: the snippet and its kin as a browser loads them."""

from collections.abc import Mapping

from flask import Blueprint, Response, abort, request

from proxy.snippet import Snippet


def blueprint(snippets: Mapping[str, Snippet], prefix: str) -> Blueprint:
    """Return the surface of *snippets*, which come by their names, under *prefix*."""
    routes = Blueprint("scripts", __name__, url_prefix=prefix)

    @routes.get("/<name>.js")
    def snippet(name: str) -> Response:
        return _script(_named(snippets, name), "public, max-age=3600")

    @routes.get("/<name>.<version>.js")
    def snippet_of_a_version(name: str, version: str) -> Response:
        snippet = _named(snippets, name)
        if version != snippet.version:
            abort(404, f"This version of the snippet is not served any more; load {name}.js.")
        return _script(snippet, "public, max-age=31536000, immutable")

    return routes


def _named(snippets: Mapping[str, Snippet], name: str) -> Snippet:
    if name not in snippets:
        abort(404, f"The scripts here are {', '.join(snippets)}.")
    return snippets[name]


def _script(snippet: Snippet, cache_control: str) -> Response:
    encoding = next((each for each in snippet.compressed if request.accept_encodings[each]), "")
    response = Response(
        snippet.compressed.get(encoding, snippet.content), mimetype="text/javascript"
    )
    if encoding:
        response.content_encoding = encoding
    response.vary.add("Accept-Encoding")
    response.headers["Cache-Control"] = cache_control
    # A page on another origin may load it with an integrity hash.
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.set_etag(snippet.version + encoding)
    response.make_conditional(request)
    return response
