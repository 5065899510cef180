"""Whether the oldest and the newest releases of what the package needs will do."""
