"""Asset hrefs as clients can use them: stored ones are storage URIs, published ones https URLs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from stacyard.core.settings import StorageSettings
from stacyard.core.storage import is_below
from stacyard.stac.credentials import AmbientCredentials
from stacyard.stac.signing import Place, S3Signer

#: https://github.com/stac-extensions/alternate-assets
ALTERNATE_ASSETS = "https://stac-extensions.github.io/alternate-assets/v1.2.0/schema.json"
#: The alternate that is the storage URI.
STORAGE = "storage"


class _S3Environment(BaseSettings):
    """What says where S3 is, under the names that AWS's tools and our storage read."""

    model_config = SettingsConfigDict(extra="ignore")

    region: str = Field("us-east-1", validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"))
    endpoint: str | None = Field(
        None, validation_alias=AliasChoices("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    )
    virtual_hosted: bool | None = Field(None, validation_alias="AWS_VIRTUAL_HOSTED_STYLE_REQUEST")


@dataclass(frozen=True, kw_only=True)
class AssetPublisher:
    """Publishes hrefs below `prefix`, a storage URI, at `public_url` or at `public_path` of the origin.

    Those below one of the `signed` prefixes, in S3, are published as presigned URLs where there is no such place.
    Any other stays. The storage URI stays as an alternate, for readers that stand beside the storage.
    """

    prefix: str
    public_path: str | None = None
    public_url: str | None = None
    signed: tuple[str, ...] = ()
    signer: S3Signer | None = None
    credentials: AmbientCredentials | None = None

    @classmethod
    def of(cls, storage: StorageSettings) -> AssetPublisher:
        """As the settings say. Nothing is signed before `open`."""
        signed = tuple(prefix for prefix in storage.readable if prefix.startswith("s3://"))
        unsigned = cls(prefix=storage.assets, public_path=storage.public_path, public_url=storage.public_url)
        if not signed or not storage.presign_seconds:
            return unsigned
        found = _S3Environment()
        place = Place(region=found.region, endpoint=found.endpoint, virtual_hosted=found.virtual_hosted)
        credentials = AmbientCredentials()
        signer = S3Signer(place, credentials, seconds=storage.presign_seconds)
        return replace(unsigned, signed=signed, signer=signer, credentials=credentials)

    def open(self) -> None:
        """Find the credentials to sign with, if anything is signed; may wait for the service that hands them out."""
        if self.credentials is not None:
            self.credentials.load()

    @property
    def edition(self) -> str:
        """What answers depend on besides what is stored: it changes when published hrefs do."""
        return self.signer.edition if self.signer else ""

    def published_href(self, href: str, *, origin: str) -> str | None:
        """The href that clients can use; None if it stays as it is.

        Args:
            href: of an asset, as it is stored.
            origin: public base URL of the whole platform, without a slash at the end.
        """
        public = self.public_url or (f"{origin}{self.public_path}" if self.public_path else None)
        if public is not None and href != self.prefix and is_below(href, self.prefix):
            return f"{public}{href[len(self.prefix) :]}".replace(" ", "%20")
        if self.signer is not None and any(is_below(href, prefix) for prefix in self.signed):
            return self.signer.sign(href)
        return None

    def publish(self, document: dict[str, Any], *, origin: str) -> dict[str, Any]:
        """The item or collection with hrefs of its assets published, in place.

        Args:
            document: a STAC item or collection.
            origin: public base URL of the whole platform, without a slash at the end.
        """
        changed = False
        for asset in (document.get("assets") or {}).values():
            href = asset.get("href") if isinstance(asset, dict) else None
            alternate = asset.get("alternate", {}) if isinstance(href, str) else None
            # an alternate of this name that was stored could not be told from ours
            if not isinstance(href, str) or not isinstance(alternate, dict) or STORAGE in alternate:
                continue
            published = self.published_href(href, origin=origin)
            if published is not None:
                asset["href"] = published
                asset["alternate"] = {**alternate, STORAGE: {"href": href}}
                changed = True
        extensions = document.get("stac_extensions")
        if changed and isinstance(extensions, list) and ALTERNATE_ASSETS not in extensions:
            document["stac_extensions"] = [*extensions, ALTERNATE_ASSETS]
        return document

    def withdraw(self, document: dict[str, Any]) -> dict[str, Any]:
        """The reverse, in place: what a client read and sends back is stored under its storage URIs again.

        It may have read it from another host, or while the settings were others.
        """
        assets = [asset for asset in (document.get("assets") or {}).values() if isinstance(asset, dict)]
        for asset in assets:
            alternate = asset.get("alternate")
            storage = alternate.get(STORAGE) if isinstance(alternate, dict) else None
            stored = storage.get("href") if isinstance(storage, dict) else None
            if isinstance(stored, str) and self._names(asset.get("href"), stored):
                asset["href"] = stored
                del asset["alternate"][STORAGE]
                if not asset["alternate"]:
                    del asset["alternate"]
        extensions = document.get("stac_extensions")
        if isinstance(extensions, list) and not any("alternate" in asset for asset in assets):
            document["stac_extensions"] = [extension for extension in extensions if extension != ALTERNATE_ASSETS]
        return document

    def _names(self, href: Any, stored: str) -> bool:
        """Whether an href is what a storage URI of ours was, or could have been, published as."""
        if not isinstance(href, str) or not href.startswith(("http://", "https://")):
            return False
        path = unquote(href.partition("?")[0])
        return any(
            stored != prefix and is_below(stored, prefix) and path.endswith(unquote(stored[len(prefix) :]))
            for prefix in (self.prefix, *self.signed)
        )
