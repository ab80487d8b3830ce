"""Our SMSC side: customers bind to us."""
