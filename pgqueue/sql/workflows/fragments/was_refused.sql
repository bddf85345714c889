-- Whether the database refused to go on with a node, so that the leader looks at it again (functions/move_nodes.sql): its error says so.
-- Null: there is no error.
starts_with(n.error, 'Left to the leader: ')
