"""Labels, one file each."""
