"""Settings that the services share. Each component reads its own class from the environment, prefix `STACYARD_`."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Role = Literal["owner", "ingest", "writer", "reader"]


def split_list(value: object) -> object:
    """Let a list setting be written as one comma-separated string."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def base_url(value: str) -> str:
    """A base URL, without a slash at the end.

    Raises:
        ValueError: it is none, or has a query or fragment that a path could not be put behind.
    """
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"{value!r} is no base URL: write for example https://maps.example.org/fields")
    return value.rstrip("/")


class DatabaseSettings(BaseSettings):
    """Where PostgreSQL is and how long we wait for it: one URL a role, so that readers may sit on a replica."""

    model_config = SettingsConfigDict(env_prefix="STACYARD_DATABASE_", extra="ignore")

    reader_url: SecretStr | None = Field(
        None, description="Login role of every read; may point at a replica or pooler."
    )
    writer_url: SecretStr | None = Field(None, description="Login role of transactions and registered searches.")
    ingest_url: SecretStr | None = Field(None, description="Login role of the ingestor; straight to the primary.")
    owner_url: SecretStr | None = Field(None, description="Login role of migrations; straight to the primary.")
    pool_size: int = Field(4, ge=1, le=100, description="Connections a pool may open, per worker process.")
    pool_wait_seconds: float = Field(2.0, gt=0, le=60, description="How long a request waits for a connection.")
    connect_timeout_seconds: float = Field(5.0, gt=0, le=60, description="How long opening a connection may take.")
    idle_seconds: float = Field(240.0, gt=0, description="Idle connections are closed after this time.")
    pooled: bool = Field(
        True,
        description="A transaction-mode pooler may stand between: keep no prepared statement on a connection.",
    )

    @field_validator("reader_url", "writer_url", "ingest_url", "owner_url")
    @classmethod
    def _is_postgres_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and urlsplit(value.get_secret_value()).scheme not in ("postgresql", "postgres"):
            raise ValueError("a database URL starts with postgresql://, for example postgresql://user:password@host/db")
        return value

    def url(self, role: Role) -> str:
        """The connection URL of a role.

        Raises:
            ValueError: the role has no URL; the message names the variable to set.
        """
        secret: SecretStr | None = getattr(self, f"{role}_url")
        if secret is None:
            raise ValueError(f"no database URL for the role {role!r}: set STACYARD_DATABASE_{role.upper()}_URL")
        return secret.get_secret_value()


class FairSettings(BaseSettings):
    """How clients share a service's connections to the database, so that one cannot take them all."""

    model_config = SettingsConfigDict(env_prefix="STACYARD_FAIR_", extra="ignore")

    enabled: bool = Field(True, description="Requests of one client wait for each other before others wait for them.")
    connections_each: int | None = Field(
        None,
        ge=1,
        description="Connections of a worker process that one client may hold at once. Default: all but one.",
    )
    waiting: int = Field(1024, ge=0, description="Requests that may wait for a connection, per worker process.")
    waiting_each: int = Field(256, ge=0, description="Those of one client; one more is answered 429.")
    wait_seconds: float = Field(5.0, gt=0, le=60, description="How long one waits before it is answered 429 or 503.")


class StorageSettings(BaseSettings):
    """Where assets are. S3 credentials, region and endpoint come from the usual `AWS_*` variables."""

    model_config = SettingsConfigDict(env_prefix="STACYARD_STORAGE_", extra="ignore")

    assets: str = Field("file:///var/lib/stacyard/assets", description="URI prefix under which assets are published.")
    readable: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="URI prefixes that tilers may read; the asset prefix always is one."
    )
    public_path: str | None = Field(
        None,
        description="Path on this origin that serves the asset prefix, for example /assets.",
    )
    public_url: str | None = Field(
        None, description="Base URL that serves the asset prefix, for example that of a CDN; goes before the path."
    )
    presign_seconds: int = Field(
        3600,
        ge=0,
        le=604_800,
        description="Assets in S3 that no public path or URL serves are published as presigned URLs that hold for so "
        "long at the most, half of it at the least; 0: their hrefs stay.",
    )

    _split = field_validator("readable", mode="before")(split_list)

    @field_validator("public_path", "public_url")
    @classmethod
    def _without_end(cls, value: str | None) -> str | None:
        # an empty variable says none, as a program that passes all of them on writes it
        return value.rstrip("/") or None if value else None

    @field_validator("public_url")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        return value if value is None else base_url(value)

    @field_validator("assets")
    @classmethod
    def _is_storage_uri(cls, value: str) -> str:
        if urlsplit(value).scheme not in ("file", "s3"):
            raise ValueError(f"{value!r} is no storage URI: write file:///directory or s3://bucket/prefix")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _assets_are_readable(self) -> StorageSettings:
        self.readable = list(dict.fromkeys([self.assets, *(prefix.rstrip("/") for prefix in self.readable)]))
        return self


class HttpSettings(BaseSettings):
    """HTTP behaviour that is the same in every service."""

    model_config = SettingsConfigDict(env_prefix="STACYARD_HTTP_", extra="ignore")

    public_url: str | None = Field(
        None, description="Public base URL; if set, links start with it whatever the request's headers say."
    )
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        default_factory=lambda: ["127.0.0.0/8", "::1/128"],
        description="Networks whose X-Forwarded-Proto, -Host and -Prefix are believed; '*' believes all.",
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=lambda: ["*"], description="Origins whose pages may read answers; '*' for all."
    )
    json_cache_control: str = Field("no-cache", description="Cache-Control of JSON answers: revalidate by ETag.")
    tile_cache_control: str = Field("public, max-age=60", description="Cache-Control of tiles and images.")
    target_bytes: int = Field(16_384, ge=1024, description="A longer path and query together are answered 414.")
    body_bytes: int = Field(10_000_000, ge=1024, description="A larger request body is answered 413.")
    body_seconds: float = Field(30.0, gt=0, description="A body that takes longer to arrive is answered 408.")
    access_log: bool = Field(True, description="One JSON line a request on standard error.")

    _split = field_validator("trusted_proxies", "cors_origins", mode="before")(split_list)

    @field_validator("public_url")
    @classmethod
    def _is_http_url(cls, value: str | None) -> str | None:
        return value if value is None else base_url(value)

    def trusted_networks(self) -> list[IPv4Network | IPv6Network]:
        """The trusted proxies as networks; `*` becomes both default routes."""
        names = [n for p in self.trusted_proxies for n in (("0.0.0.0/0", "::/0") if p == "*" else (p,))]
        return [ip_network(name, strict=False) for name in names]
