"""Which extensions of the STAC API there are: upstream's, and what it lacks."""

from __future__ import annotations

from dataclasses import dataclass

from stac_fastapi.extensions import ItemCollectionFilterExtension, SearchFilterExtension
from stac_fastapi.extensions.free_text import FreeTextConformanceClasses
from stac_fastapi.pgstac.extensions import FreeTextExtension
from stac_fastapi.pgstac.models.extensions import Extensions
from stac_fastapi.types.extension import ApiExtension

from stacyard.stac.aggregation_extension import AggregationExtension
from stacyard.stac.queryables import QueryablesClient
from stacyard.stac.transactions import CatalogBulkExtension, CatalogTransactionExtension
from stacyard.stac.writes import Writes


@dataclass
class CatalogExtensions(Extensions):
    """Upstream's, free text of items, their queryables, aggregation, and transactions if there is anybody to write."""

    writes: Writes | None = None

    def __post_init__(self) -> None:
        """Add to upstream's what it offers for collections alone."""
        classes, queryables = FreeTextConformanceClasses, QueryablesClient()
        self.search_map = {
            "free_text": FreeTextExtension(conformance_classes=[classes.SEARCH]),
            "filter": SearchFilterExtension(client=queryables),
        }
        self.item_collection_map = {
            "free_text": FreeTextExtension(conformance_classes=[classes.ITEMS]),
            "filter": ItemCollectionFilterExtension(client=queryables),
        }
        super().__post_init__()

    @property
    def extra(self) -> list[ApiExtension]:
        """Upstream's, and aggregation, which it has none of."""
        return [*super().extra, AggregationExtension()]

    @property
    def transaction(self) -> list[ApiExtension]:
        """The transaction extensions; none while they are off."""
        if self.writes is None:
            return []
        return [CatalogTransactionExtension(writes=self.writes), CatalogBulkExtension(writes=self.writes)]
