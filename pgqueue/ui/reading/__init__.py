"""The read model: what each page says about the queue, as values. The web page, `pgq top` and plain text show the same pages."""
