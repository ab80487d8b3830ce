"""A carrier on a port: an SMSC that answers submits and sends receipts and MOs, well or badly."""
