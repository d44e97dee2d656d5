"""Configuration: from YAML and overrides to trials."""
