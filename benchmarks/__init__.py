"""Side by side with the stock services: the same database, data, requests and number of processes, in one run."""
