"""The named settings, one YAML file each."""
