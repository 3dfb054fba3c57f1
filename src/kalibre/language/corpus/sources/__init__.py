"""Where texts come from; one file each."""
