"""The report of a run: its figures from the ledger, and the page that shows them."""
