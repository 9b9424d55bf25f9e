"""Upstream's aggregation extension: it links, declares and describes what `aggregation_routes` answers."""

from __future__ import annotations

from typing import Annotated, Literal

import attr
from fastapi import Depends, FastAPI, Path, Query
from pydantic import Field
from stac_fastapi.api.models import EmptyRequest
from stac_fastapi.api.routes import create_async_endpoint
from stac_fastapi.extensions import AggregationExtension as UpstreamExtension
from stac_fastapi.extensions.aggregation.client import AsyncBaseAggregationClient
from stac_fastapi.extensions.aggregation.request import AggregationExtensionGetRequest, AggregationExtensionPostRequest
from stac_fastapi.extensions.filter.request import FilterExtensionGetRequest, FilterExtensionPostRequest
from stac_fastapi.extensions.query.request import QueryExtensionGetRequest, QueryExtensionPostRequest

_AGGREGATION = "https://api.stacspec.org/v0.3.0/aggregation"
_INTERVAL = "How long the buckets of datetime_frequency are."
_GEOHASH = "Characters of the geohashes."
_TILE = "Zoom of the tiles."

Interval = Literal["hour", "day", "week", "month", "quarter", "year"]
Characters = Annotated[int, Query(ge=1, le=12, description=_GEOHASH)]
Zoom = Annotated[int, Query(ge=0, le=29, description=_TILE)]


@attr.s
class AggregateGet(AggregationExtensionGetRequest, QueryExtensionGetRequest, FilterExtensionGetRequest):
    """The query string of `GET /aggregate`."""

    datetime_frequency_interval: Annotated[Interval, Query(description=_INTERVAL)] = attr.ib(default="month")
    centroid_geohash_grid_frequency_precision: Characters = attr.ib(default=1)
    centroid_geotile_grid_frequency_precision: Zoom = attr.ib(default=0)
    grid_geohash_frequency_precision: Characters = attr.ib(default=1)
    grid_geotile_frequency_precision: Zoom = attr.ib(default=0)


class AggregatePost(AggregationExtensionPostRequest, QueryExtensionPostRequest, FilterExtensionPostRequest):
    """The body of `POST /aggregate`."""

    datetime_frequency_interval: Interval = Field("month", description=_INTERVAL)
    centroid_geohash_grid_frequency_precision: int = Field(1, ge=1, le=12, description=_GEOHASH)
    centroid_geotile_grid_frequency_precision: int = Field(0, ge=0, le=29, description=_TILE)
    grid_geohash_frequency_precision: int = Field(1, ge=1, le=12, description=_GEOHASH)
    grid_geotile_frequency_precision: int = Field(0, ge=0, le=29, description=_TILE)


@attr.s
class AggregationExtension(UpstreamExtension):
    """Under upstream's name, by which upstream knows that it is there."""

    client: AsyncBaseAggregationClient = attr.ib(factory=AsyncBaseAggregationClient)
    conformance_classes: list[str] = attr.ib(
        factory=lambda: [_AGGREGATION, f"{_AGGREGATION}#query", f"{_AGGREGATION}#filter"]
    )

    def register(self, app: FastAPI) -> None:
        """Describe the routes: upstream's, with the collection among the parameters and one operation a method."""
        self.router.prefix = app.state.router_prefix
        for prefix, title in (("", ""), ("/collections/{collection_id}", "Collection ")):
            for name, function, get, post in (
                ("aggregate", self.client.aggregate, AggregateGet, AggregatePost),
                ("aggregations", self.client.get_aggregations, EmptyRequest, EmptyRequest),
            ):
                for method, model in (("GET", get), ("POST", post)):
                    self.router.add_api_route(
                        f"{prefix}/{name}",
                        create_async_endpoint(function, model),
                        name=f"{title}{name.capitalize()}",
                        methods=[method],
                        dependencies=[Depends(_of_collection)] if prefix else None,
                    )
        app.include_router(self.router, tags=["Aggregation Extension"])


def _of_collection(collection_id: Annotated[str, Path(description="Collection ID")]) -> None:
    """The parameter of the path."""
