"""Networks in packs: every parameter has a leading axis of members, which train together."""
