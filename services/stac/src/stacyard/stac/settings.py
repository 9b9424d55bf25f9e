"""Settings of the catalog service."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from stac_fastapi.pgstac.config import Settings as UpstreamSettings

from stacyard.core.settings import DatabaseSettings, FairSettings, HttpSettings, StorageSettings, split_list
from stacyard.stac.links import Service


class SearchBounds(BaseSettings):
    """What one search may ask for at the most; more is answered 400 with what to change."""

    model_config = SettingsConfigDict(env_prefix="STACYARD_SEARCH_", extra="ignore")

    ids: int = Field(1000, ge=1, description="Ids of items.")
    collections: int = Field(1000, ge=1, description="Ids of collections.")
    vertices: int = Field(10_000, ge=5, description="Vertices of `intersects`, and of all geometries of a filter.")
    filter_terms: int = Field(2000, ge=1, description="Operators, properties and values of a filter.")
    fields: int = Field(200, ge=1, description="Names in `fields`, included and excluded.")
    sortby: int = Field(8, ge=1, description="Fields to sort by.")


class StacSettings(BaseSettings):
    """The catalog service. What stac-fastapi-pgstac reads from the environment keeps its names."""

    model_config = SettingsConfigDict(env_prefix="STACYARD_STAC_", extra="ignore")

    title: str = Field("stacyard", description="Title of the landing page.")
    description: str = Field("The imagery of a farm.", description="Description on the landing page.")
    catalog_id: str = Field("stacyard", description="Id of the root catalog.")
    transactions: bool = Field(False, description="Offer the transaction extensions; needs the writer's database URL.")
    write_max_items: int = Field(1000, ge=1, le=10_000, description="Items that one write may bring at the most.")
    write_max_bytes: int = Field(
        32_000_000, ge=1000, description="Bytes that the body of a write may have at the most."
    )
    page_limit: int = Field(1000, ge=1, le=10_000, description="Items or collections a page may hold at the most.")
    result_cache_mb: int = Field(
        64, ge=0, le=100_000, description="Memory for answers to searches that may be asked again, per worker process."
    )
    export_limit: int = Field(1_000_000, ge=1, description="Items an export may hold at the most.")
    exports_at_once: int = Field(2, ge=1, le=100, description="Exports at the same time, per worker process.")
    export_seconds: float = Field(
        900.0, gt=0, description="How long an export may take, the client's reading included."
    )
    export_disk_mb: int = Field(
        1024, ge=1, description="Megabytes, compressed, that an export may keep in the directory for temporary files."
    )
    linked_services: Annotated[list[Service], NoDecode] = Field(
        default=["raster", "vector", "explorer"],
        description="What stands beside the catalog under its origin, for items and collections to link to.",
    )

    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    search: SearchBounds = Field(default_factory=SearchBounds)
    fair: FairSettings = Field(default_factory=FairSettings)

    _split = field_validator("linked_services", mode="before")(split_list)

    def upstream(self) -> UpstreamSettings:
        """The settings of stac-fastapi-pgstac."""
        return UpstreamSettings(
            stac_fastapi_title=self.title,
            stac_fastapi_version=version("stacyard-stac"),
            stac_fastapi_description=self.description,
            stac_fastapi_landing_id=self.catalog_id,
            enable_transactions_extensions=self.transactions,
            # items become whole in Rust here, not in plpgsql there
            use_api_hydrate=True,
        )
