"""What pgqueue tells of itself: facts first; log lines and spans are made of them or beside them.

It lies below all that has something to tell, also below the database and below the retry policies of the model. So a fact holds plain
values, ids and texts, and knows no class of those that emit it.
"""
