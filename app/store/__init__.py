"""The only SQL: tables, the one commit, and statements that the services put together."""
