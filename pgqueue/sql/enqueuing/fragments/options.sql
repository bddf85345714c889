-- The columns of a new job that are set only if its enqueuer chose them.
, queue                                                                          --? queue
, priority                                                                       --? priority
, max_attempts                                                                   --? max_attempts
, timeout                                                                        --? timeout
, concurrency_key                                                                --? concurrency_key
, weight                                                                         --? weight
, ordering                                                                       --? ordering
, tags                                                                           --? tags
, meta                                                                           --? meta
, trace_context                                                                  --? trace_context
