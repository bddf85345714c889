"""`pgq demo`: a shop with a day of real orders. It shows how the queue works."""
