"""What kills, full disks and damage at any moment do to a search."""
