"""The landing page and the conformance declaration, as OGC API Common asks for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.templating import Jinja2Templates
from titiler.core.models.OGC import Conformance
from titiler.core.resources.enums import MediaType
from titiler.core.utils import accept_media_type, create_html_response

_COMMON = {
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/landing-page",
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/oas30",
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/html",
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/json",
}

_JSON, _HTML = "application/json", "text/html"

Format = Annotated[
    Literal["html", "json"] | None, Query(alias="f", description="Media type; by default what the client accepts.")
]


def landing_router(title: str, conforms_to: Iterable[str], templates: Jinja2Templates) -> APIRouter:
    """Routes `/` and `/conformance`."""
    router = APIRouter(tags=["OGC Common"])
    classes = sorted(_COMMON | set(conforms_to))

    # no response model: upstream's would percent-encode the braces of the templates
    @router.get("/", summary="Landing page")
    def landing(request: Request, output: Format = None) -> Any:
        data = {"title": title, "links": _links(request)}
        return _answer(request, data, output, template="landing", title=title)

    @router.get("/conformance", response_model=Conformance, response_model_exclude_none=True)
    def conformance(request: Request, output: Format = None) -> Any:
        return _answer(request, {"conformsTo": classes}, output, template="conformance", title="Conformance")

    def _answer(request: Request, data: dict[str, Any], output: str | None, *, template: str, title: str) -> Any:
        accepted = accept_media_type(request.headers.get("accept", ""), [MediaType.html, MediaType.json])
        if (MediaType[output] if output else accepted) == MediaType.html:
            return create_html_response(request, data, template, title=title, templates=templates)
        return data

    return router


def _links(request: Request) -> list[dict[str, Any]]:
    base = str(request.base_url).rstrip("/")
    ogc = "http://www.opengis.net/def/rel/ogc/1.0"

    def link(rel: str, path: str, media_type: str, title: str, *, templated: bool = False) -> dict[str, Any]:
        extra = {"templated": True} if templated else {}
        return {"rel": rel, "href": f"{base}{path}", "type": media_type, "title": title} | extra

    openapi = "application/vnd.oai.openapi+json;version=3.0"
    return [
        link("self", "/", _JSON, "This page"),
        link("service-desc", "/api", openapi, "API definition"),
        link("service-doc", "/api.html", _HTML, "API documentation"),
        link(f"{ogc}/conformance", "/conformance", _JSON, "Conformance classes"),
        link(f"{ogc}/tiling-schemes", "/tileMatrixSets", _JSON, "Tile matrix sets"),
        link("data", "/searches/list", _JSON, "Registered searches"),
        link("data", "/algorithms", _JSON, "Algorithms"),
        link("data", "/colorMaps", _JSON, "Colormaps"),
        link(
            "data",
            "/collections/{collection_id}/{tileMatrixSetId}/tilejson.json",
            _JSON,
            "TileJSON of a collection (template)",
            templated=True,
        ),
        link(
            "data",
            "/collections/{collection_id}/items/{item_id}/{tileMatrixSetId}/tilejson.json",
            _JSON,
            "TileJSON of an item (template)",
            templated=True,
        ),
    ]
