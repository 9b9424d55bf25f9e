"""HTTP behaviour that every service shares, one plain ASGI class a concern; `core.assembly` puts them in order."""
