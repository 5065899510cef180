"""Which networks a search tries first."""
