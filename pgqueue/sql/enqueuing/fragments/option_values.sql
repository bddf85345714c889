-- The values for the columns in options.sql, in the same order.
, %(queue)s::text                                                                --? queue
, %(priority)s::smallint                                                         --? priority
, %(max_attempts)s::smallint                                                     --? max_attempts
, pg_catalog.make_interval(secs => %(timeout)s::float8)                          --? timeout
, %(concurrency_key)s::text                                                      --? concurrency_key
, %(weight)s::integer                                                            --? weight
, %(ordering)s::text                                                             --? ordering
, %(tags)s::text[]                                                               --? tags
, %(meta)s::text::jsonb                                                          --? meta
, %(trace_context)s::text::jsonb                                                 --? trace_context
