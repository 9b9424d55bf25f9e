"""What is refused before tipg, and the libraries below it, see it."""

from __future__ import annotations

import pytest

from stacyard.core.errors import InvalidRequest
from stacyard.vector.checks import check_filter


@pytest.mark.parametrize("text", ["(" * 3000 + "a=1" + ")" * 3000, "NOT " * 1500 + "a=1"])
async def test_a_filter_that_would_end_the_parser_and_the_process_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        await check_filter(text)
    await check_filter("NOT (a = 1 AND (b > -2))")
