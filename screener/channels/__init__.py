"""One way of telling someone per file, all the same shape."""
