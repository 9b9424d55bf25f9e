"""Credentials for S3, found where AWS's own tools find them, and kept fresh without a request that waits."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from stacyard.stac.signing import Credentials

_LOG = logging.getLogger(__name__)
# botocore renews those that expire a quarter of an hour before they do
_CHECK_SECONDS = 60.0


class AmbientCredentials:
    """Those of the environment, of shared files, of a pod's role or of the machine's, in botocore's order."""

    def __init__(self, *, check_seconds: float = _CHECK_SECONDS) -> None:
        self._check_seconds = check_seconds
        self._source: Any = None
        self._current: Credentials | None = None
        self._checked = time.monotonic()
        self._busy = threading.Lock()

    def load(self) -> None:
        """Find credentials, or renew those that soon expire; waits for the service that hands them out.

        Where there are none, or that service does not answer, what was found last stays, and the log says why.
        """
        try:
            self._current = self._find() or self._current
        except Exception:
            _LOG.exception("AWS credentials cannot be had; hrefs of assets in S3 are signed with the last, if any")

    def __call__(self) -> Credentials | None:
        """What was found last; looks again beside, now and then."""
        if time.monotonic() - self._checked > self._check_seconds and self._busy.acquire(blocking=False):
            self._checked = time.monotonic()
            threading.Thread(target=self._reload, name="credentials", daemon=True).start()
        return self._current

    def _reload(self) -> None:
        try:
            self.load()
        finally:
            self._busy.release()

    def _find(self) -> Credentials | None:
        # half a second that a service without assets in S3 does not need
        from botocore.session import get_session

        self._source = self._source or get_session().get_credentials()
        if self._source is None:
            _LOG.warning(
                "there are no AWS credentials to sign hrefs of assets in S3 with, which stay as they are stored; "
                "STACYARD_STORAGE_PRESIGN_SECONDS=0 if they shall"
            )
            return None
        frozen = self._source.get_frozen_credentials()
        return Credentials(
            access_key_id=frozen.access_key, secret_access_key=frozen.secret_key, session_token=frozen.token
        )
