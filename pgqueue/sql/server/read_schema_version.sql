-- The revision of the schema that this database has.
select v.version_num from pgqueue.schema_version v
