"""A carrier on a port: an SMSC that accepts binds, answers submits and sends receipts and MOs, well or badly."""
