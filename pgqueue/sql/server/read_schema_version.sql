-- Returns the revision of pgqueue's schema in this database.
select v.version_num from pgqueue.schema_version v
