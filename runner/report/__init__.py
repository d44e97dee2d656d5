"""Reports: everything that a person reads."""
