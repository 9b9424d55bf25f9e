"""Settings of the vector service."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from tipg.settings import DatabaseSettings as UpstreamDatabaseSettings

from stacyard.core.settings import DatabaseSettings, HttpSettings, split_list
from stacyard.vector.functions import FUNCTION_SCHEMA


class VectorSettings(BaseSettings):
    """The vector service. What tipg reads from the environment keeps its names."""

    model_config = SettingsConfigDict(env_prefix="STACYARD_VECTOR_", extra="ignore")

    title: str = Field("stacyard vector", description="Title of the landing page.")
    schemas: Annotated[list[str], NoDecode] = Field(
        default_factory=lambda: ["features"], description="Database schemas whose tables and functions are layers."
    )
    revision_seconds: float = Field(
        2.0, ge=0, description="How often it is asked whether the ingestor changed a layer."
    )
    layers_seconds: float = Field(60.0, gt=0, description="How often the list of layers is read all the same.")

    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)

    _split = field_validator("schemas", mode="before")(split_list)

    def upstream(self) -> UpstreamDatabaseSettings:
        """The settings with which tipg looks for layers."""
        return UpstreamDatabaseSettings(schemas=self.schemas, application_schema=FUNCTION_SCHEMA)
