"""The learners that never stop, one file each; `base` reads the log for them."""
