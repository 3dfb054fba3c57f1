"""Where bars come from; one file each."""
