"""What every surface with which people steer the queue shares: the commands, the web page, the terminal and the HTTP API.

Each of them does its actions with these functions and with the statements of ``pgqueue.database.statements`` that take a ``Who``. Both
write the audit in the transaction of the action. The methods of an application's handles, such as ``JobHandle.cancel``, are no actions of
an operator. They call the SQL API directly, and write no audit.
"""
