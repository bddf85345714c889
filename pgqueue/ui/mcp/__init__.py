"""A server of the Model Context Protocol: the read model as tools for agents, over stdin and stdout."""
