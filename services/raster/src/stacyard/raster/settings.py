"""Settings of the raster service."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from stacyard.core.settings import DatabaseSettings, HttpSettings, StorageSettings


class RasterSettings(BaseSettings):
    """The raster service. What titiler, rio-tiler and GDAL read from the environment keeps its names."""

    model_config = SettingsConfigDict(env_prefix="STACYARD_RASTER_", extra="ignore")

    title: str = Field("stacyard raster", description="Title of the landing page.")

    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)

    def gdal_environment(self) -> dict[str, str]:
        """GDAL options of every read: no listing of directories, few and merged range requests, cached blocks.

        https://gdal.org/user/configoptions.html names each.
        """
        return {
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
            "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
            "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
            "GDAL_HTTP_MULTIPLEX": "YES",
            "VSI_CACHE": "TRUE",
        }
