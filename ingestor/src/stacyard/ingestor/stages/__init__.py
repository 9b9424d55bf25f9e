"""What is done to one item: functions from values to values, which know neither ledger nor catalog."""
