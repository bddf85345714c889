"""A shop with a day of real orders, to watch the queue at work: `pgq demo`."""
