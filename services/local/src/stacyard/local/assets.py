"""The published assets of this machine at `/assets`, by ranges, for whoever may read their collection."""

from __future__ import annotations

from pathlib import PurePosixPath

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from stacyard.core.access import check_read


class PublishedAssets(StaticFiles):
    """Files below the asset directory, which lie in folders named for collection and item."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or the part of it that was asked for."""
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD, OPTIONS"})
        collection, item, *_ = (*PurePosixPath(path).parts, None, None)
        check_read(Request(scope), collection=collection, item=item)
        return await super().get_response(path, scope)
