"""OpenAPI: both surfaces, described for programs out of the types that bodies are read as."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec
from flask import Blueprint, Response

from proxy import guest, shop, states
from proxy.carts.cart import Cart

Json = dict[str, Any]

# The last part of a schema's address is the name of its type.
_SCHEMA = "#/components/schemas/{name}"
_REFUSED_EVERYWHERE = (413, 415, 429, 503)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    """What one may ask, and how it is answered where it is not refused."""

    method: str
    path: str
    summary: str
    success: int
    body: Any = None
    media_types: tuple[str, ...] = ("application/json",)
    refused: tuple[int, ...] = (400, 401, 422)
    for_shop: bool = True

    @property
    def described(self) -> Json:
        statuses = (self.success, *self.refused, *_REFUSED_EVERYWHERE)
        told: Json = {
            "operationId": f"{self.method} {self.path}",
            "summary": self.summary,
            "responses": {str(status): _response(status) for status in statuses},
            "security": [{"shop": []}] if self.for_shop else [],
        }
        if "{cart_id}" in self.path:
            told["parameters"] = [_CART_ID]
        if self.body is not None:
            schema = {"$ref": _SCHEMA.format(name=self.body.__name__)}
            content = {media_type: {"schema": schema} for media_type in self.media_types}
            told["requestBody"] = {"required": True, "content": content}
        return told


_CART_ID = {
    "name": "cart_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def _operations(prefix: str, *, guests: bool) -> Iterator[_Operation]:
    page: Json = {"for_shop": False, "media_types": states.MEDIA_TYPES}
    yield _Operation(
        method="post",
        path=f"{prefix}/state",
        summary="How the checkout stands",
        success=202,
        body=states.Posted,
        refused=(400, 401, 403, 422),
        **page,
    )
    if guests:
        yield _Operation(
            method="post",
            path=f"{prefix}/session",
            summary="A session for a page whose shop has no server of its own",
            success=201,
            body=guest.NewGuest,
            refused=(400, 403, 422),
            **page,
        )
    yield _Operation(
        method="post",
        path="/v1/sessions",
        summary="A token for the page",
        success=201,
        body=shop.NewSession,
    )
    yield _Operation(
        method="put",
        path="/v1/carts/{cart_id}",
        summary="How the cart stands",
        success=204,
        body=Cart,
    )
    yield _Operation(
        method="delete",
        path="/v1/carts/{cart_id}",
        summary="The cart is gone",
        success=204,
        refused=(401, 422),
    )
    yield _Operation(
        method="post",
        path="/v1/orders",
        summary="An order was placed for the cart",
        success=202,
        body=shop.NewOrder,
    )
    yield _Operation(
        method="post",
        path="/v1/erasures",
        summary="All that is kept of a person, or about a cart, is to be erased",
        success=202,
        body=shop.NewErasure,
    )


def _response(status: int) -> Json:
    told: Json = {"description": HTTPStatus(status).phrase}
    if status >= 400:
        schema = {"$ref": _SCHEMA.format(name="Problem")}
        return told | {"content": {"application/problem+json": {"schema": schema}}}
    if status == 204:
        return told
    name = "Session" if status == 201 else "Accepted"
    return told | {"content": {"application/json": {"schema": {"$ref": _SCHEMA.format(name=name)}}}}


# -- the whole ---------------------------------------------------------------------------


def document(prefix: str, *, guests: bool) -> Json:
    """Return the description (OpenAPI 3.1) of both surfaces, the pages' under *prefix*."""
    operations = [*_operations(prefix, guests=guests)]
    paths: dict[str, Json] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method] = each.described
    bodies = [each.body for each in operations if each.body is not None]
    _, schemas = msgspec.json.schema_components(bodies, ref_template=_SCHEMA)
    return {
        "openapi": "3.1.0",
        "info": {"title": "checkout-proxy", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": _as_written(schemas) | _ANSWERS,
            "securitySchemes": {"shop": {"type": "http", "scheme": "bearer"}},
        },
    }


_TEXT = {"type": "string"}
_ANSWERS: Json = {
    "Accepted": {"type": "object", "properties": {"status": {"const": "accepted"}}},
    "Session": {
        "type": "object",
        "properties": {"token": _TEXT, "expires_at": {"type": "string", "format": "date-time"}},
        "required": ["token", "expires_at"],
    },
    "Problem": {
        "type": "object",
        "properties": {
            "type": {"type": "string", "pattern": "^urn:checkout-proxy:[a-z0-9-]+$"},
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "pointer": _TEXT,
        },
        "required": ["type", "title", "status", "detail"],
        "additionalProperties": False,
    },
}


def _as_written(schema: Any) -> Any:
    """Return *schema* in the words of JSON Schema where Python has its own."""
    if isinstance(schema, list):
        return [_as_written(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "decimal":
        return {"type": ["string", "number"]}
    told = {name: _as_written(each) for name, each in schema.items()}
    # Its end of a text is not that of Python.
    return told | {"pattern": told["pattern"].replace(r"\Z", "$")} if "pattern" in told else told


def blueprint(prefix: str, *, guests: bool) -> Blueprint:
    """Return ``GET /v1/openapi.json``, for everybody: it says no more than the documentation."""
    routes = Blueprint("openapi", __name__, url_prefix="/v1")

    @cache
    def written() -> bytes:
        return msgspec.json.encode(document(prefix, guests=guests))

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return Response(written(), mimetype="application/json")

    return routes
