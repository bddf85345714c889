"""An embedded Postgres server and a demo, so that a developer can try pgqueue."""
