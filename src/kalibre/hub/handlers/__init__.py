"""What jobs do, one file each: a file that names its handler `HANDLER` is a job that can be enqueued by its name."""
