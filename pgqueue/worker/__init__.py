"""The worker: claimer, runner, settler, and what keeps them alive."""
