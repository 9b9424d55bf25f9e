"""Runs on a cluster: one Kubernetes Job a run, whose pods take tasks from the ledger."""
